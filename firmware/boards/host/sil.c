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
    uint8_t *pages; /* the caller's, who keeps them; NULL: there are none */
    size_t page_size;
    uint64_t changes; /* of bytes in them, until the power is cut */
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

const char *board_image_name(const board_t *board)
{
    return board_name(board);
}

const uint8_t *board_image(const board_t *board, size_t *size_max)
{
    (void)board;
    *size_max = 0u;
    return NULL;
}

/* ------------------------------------------------------------------ what outlasts the power */

size_t board_page_size(const board_t *board)
{
    return board->page_size;
}

const uint8_t *board_page(const board_t *board, int page)
{
    return &board->pages[(size_t)page * board->page_size];
}

/* A byte becomes `value`. The one at which the power is cut is left with some of its bits done, and
 * nothing changes after it. */
static void change(board_t *board, uint8_t *byte, uint8_t value)
{
    if (board->changes > 0u) {
        board->changes--;
        *byte = board->changes > 0u ? value : (uint8_t)((*byte & 0x5Au) | (value & 0xA5u));
    }
}

bool board_page_erase(board_t *board, int page)
{
    uint8_t *bytes = &board->pages[(size_t)page * board->page_size];
    for (size_t i = 0; i < board->page_size; i++) {
        change(board, &bytes[i], 0xFFu);
    }
    return true;
}

bool board_page_write(board_t *board, int page, size_t offset, const uint32_t *words, size_t count)
{
    uint8_t *bytes = &board->pages[(size_t)page * board->page_size + offset];
    const uint8_t *from = (const uint8_t *)words;
    for (size_t i = 0; i < count * sizeof words[0]; i++) {
        change(board, &bytes[i], bytes[i] & from[i]);
    }
    return true;
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
    sil_start_with(sil, microseconds, NULL, 0u, 0u);
}

void sil_start_with(sil_t *sil, uint32_t microseconds, uint8_t *pages, size_t page_size,
                    uint64_t changes)
{
    memset(&sil->board, 0, sizeof sil->board);
    sil->board.microseconds = microseconds;
    sil->board.pages = pages;
    sil->board.page_size = page_size;
    sil->board.changes = changes;
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
