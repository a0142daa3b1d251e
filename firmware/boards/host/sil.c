#include "boards/host/sil.h"

#include <string.h>

#include "boards/board.h"
#include "loop/control_loop.h"

/* What waits to be read. When it is full, frames are lost, as on a line that nobody reads. */
#define OUT_SIZE 8192

struct board {
    const uint8_t *in;
    size_t in_left;
    uint32_t milliseconds;
    size_t out_size;
    uint8_t out[OUT_SIZE];
};

struct sil {
    board_t board;
    control_loop_t loop;
};

const char *board_name(const board_t *board)
{
    (void)board;
    return "host";
}

reset_cause_t board_reset_cause(const board_t *board)
{
    (void)board;
    return RESET_POWER_ON;
}

bool board_read_byte(board_t *board, uint8_t *byte)
{
    if (board->in_left == 0u) {
        return false;
    }
    *byte = *board->in++;
    board->in_left--;
    return true;
}

void board_write(board_t *board, const uint8_t *bytes, size_t size)
{
    if (size <= OUT_SIZE - board->out_size) {
        memcpy(&board->out[board->out_size], bytes, size);
        board->out_size += size;
    }
}

uint32_t board_milliseconds(const board_t *board)
{
    return board->milliseconds;
}

/* A host's own counters say nothing about the microcontroller. */
step_cost_unit_t board_step_cost_unit(const board_t *board)
{
    (void)board;
    return STEP_COST_NONE;
}

void board_step_cost_begin(board_t *board)
{
    (void)board;
}

uint32_t board_step_cost_end(board_t *board)
{
    (void)board;
    return 0;
}

/* Time stands still: the same bits on any machine, however loaded. */
uint32_t board_ticks(const board_t *board)
{
    (void)board;
    return 0;
}

uint32_t board_ticks_per_us(const board_t *board)
{
    (void)board;
    return 1;
}

size_t sil_size(void)
{
    return sizeof(sil_t);
}

void sil_start(sil_t *sil, uint32_t milliseconds)
{
    sil->board = (board_t){.milliseconds = milliseconds};
    control_loop_start(&sil->loop, &sil->board, &controller_config);
}

void sil_write(sil_t *sil, uint32_t milliseconds, const uint8_t *bytes, size_t size)
{
    sil->board.milliseconds = milliseconds;
    sil->board.in = bytes;
    sil->board.in_left = size;
    control_loop_poll(&sil->loop);
}

size_t sil_read(sil_t *sil, uint8_t *bytes, size_t capacity)
{
    const size_t size = sil->board.out_size < capacity ? sil->board.out_size : capacity;
    memcpy(bytes, sil->board.out, size);
    sil->board.out_size -= size;
    memmove(sil->board.out, &sil->board.out[size], sil->board.out_size);
    return size;
}
