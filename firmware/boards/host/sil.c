#include "boards/host/sil.h"

#include <stdlib.h>
#include <string.h>

#include "boards/board.h"
#include "loop/control_loop.h"

/* What waits to be read on a line. When it is full, frames are lost, as on a line that nobody
 * reads. */
#define OUT_SIZE 8192

/* What has come on a line and is not taken yet; a power of two. */
#define IN_SIZE 4096

typedef struct {
    uint32_t in_head, in_tail;
    uint8_t in[IN_SIZE];
    size_t out_size;
    uint8_t out[OUT_SIZE];
} line_t;

struct board {
    line_t lines[PORTS];
    uint32_t microseconds;
    uint32_t step_us; /* that each control step is made to take */
    crash_t crash;    /* that it is made to have had */
    const uint8_t *safe_bytes;
    size_t safe_size;
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
    return board->crash.cause == CRASH_NONE ? RESET_POWER_ON : RESET_FAULT;
}

bool board_read_byte(board_t *board, port_t port, uint8_t *byte)
{
    line_t *line = &board->lines[port];
    if (line->in_tail == line->in_head) {
        return false;
    }
    *byte = line->in[line->in_tail++ % IN_SIZE];
    return true;
}

bool board_write(board_t *board, port_t port, const uint8_t *bytes, size_t size)
{
    line_t *line = &board->lines[port];
    if (size > OUT_SIZE - line->out_size) {
        return false;
    }
    memcpy(&line->out[line->out_size], bytes, size);
    line->out_size += size;
    return true;
}

uint32_t board_microseconds(const board_t *board)
{
    return board->microseconds;
}

const crash_t *board_crash(const board_t *board)
{
    return board->crash.cause == CRASH_NONE ? NULL : &board->crash;
}

void board_fail(board_t *board, uint32_t line)
{
    (void)board;
    (void)line;
    abort();
}

void board_safe_bytes(board_t *board, const uint8_t *bytes, size_t size)
{
    board->safe_bytes = bytes;
    board->safe_size = size;
}

/* A process that hangs needs no watchdog. */
void board_feed(board_t *board)
{
    (void)board;
}

uint32_t board_stack_free(const board_t *board)
{
    (void)board;
    return 0;
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
    board->microseconds += board->step_us;
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

void sil_start(sil_t *sil, uint32_t microseconds)
{
    memset(&sil->board, 0, sizeof sil->board);
    sil->board.microseconds = microseconds;
    control_loop_start(&sil->loop, &sil->board, &controller_config);
}

void sil_write(sil_t *sil, uint32_t port, uint32_t microseconds, const uint8_t *bytes, size_t size)
{
    line_t *line = &sil->board.lines[port];
    sil->board.microseconds = microseconds;
    for (size_t i = 0; i < size; i++) {
        if (line->in_head - line->in_tail == IN_SIZE) {
            control_loop_poll(&sil->loop);
        }
        if (line->in_head - line->in_tail < IN_SIZE) { /* else the byte is lost */
            line->in[line->in_head++ % IN_SIZE] = bytes[i];
        }
    }
    control_loop_poll(&sil->loop);
}

size_t sil_read(sil_t *sil, uint32_t port, uint8_t *bytes, size_t capacity)
{
    line_t *line = &sil->board.lines[port];
    const size_t size = line->out_size < capacity ? line->out_size : capacity;
    memcpy(bytes, line->out, size);
    line->out_size -= size;
    memmove(line->out, &line->out[size], line->out_size);
    return size;
}

void sil_crash(sil_t *sil, uint32_t cause)
{
    board_t *board = &sil->board;
    (void)board_write(board, PORT_ACTUATOR, board->safe_bytes, board->safe_size);
    board->crash = (crash_t){.cause = (uint8_t)cause};
    control_loop_start(&sil->loop, board, &controller_config);
}

void sil_slow(sil_t *sil, uint32_t microseconds)
{
    sil->board.step_us = microseconds;
}
