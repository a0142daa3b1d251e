/* The program of a board. boards/host has its own entrance, boards/host/sil.c. */
#include "boards/board.h"
#include "loop/control_loop.h"

int main(void)
{
    static control_loop_t loop; /* the one instance; static, so that it counts in the RAM figure */
    board_t *board = board_init();

    control_loop_start(&loop, board, &controller_config);
    for (;;) {
        control_loop_poll(&loop);
        board_feed(board);
        board_idle(board);
    }
}
