/* All that the firmware asks of a board. Everything that touches a register is behind this. */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct board board_t;

typedef enum {
    STEP_COST_NONE = 0,
    STEP_COST_INSTRUCTIONS = 1,
    STEP_COST_CYCLES = 2
} step_cost_unit_t;

typedef enum {
    RESET_UNKNOWN = 0, /* also power-on under an emulator, which keeps no record */
    RESET_POWER_ON = 1,
    RESET_PIN = 2,
    RESET_SOFTWARE = 3,
    RESET_WATCHDOG = 4,
    RESET_FAULT = 5
} reset_cause_t;

/* Clocks, serial port, millisecond clock and step-cost counter. A board of its own has one
 * instance; the host board (boards/host/sil.h) has as many as its user makes, and no board_init. */
board_t *board_init(void);

const char *board_name(const board_t *board);
reset_cause_t board_reset_cause(const board_t *board);

/* false: nothing has come */
bool board_read_byte(board_t *board, uint8_t *byte);
/* Returns when the last byte is on its way. */
void board_write(board_t *board, const uint8_t *bytes, size_t size);

/* Wraps after 49 days: compare differences. */
uint32_t board_milliseconds(const board_t *board);

step_cost_unit_t board_step_cost_unit(const board_t *board);
void board_step_cost_begin(board_t *board);
/* What was spent since begin, without the cost of the two calls. */
uint32_t board_step_cost_end(board_t *board);

/* Time in steps of the counter that the step cost comes from; it wraps, and stands still on a
 * board that has none. */
uint32_t board_ticks(const board_t *board);
uint32_t board_ticks_per_us(const board_t *board);

/* Sleeps until a byte or the next millisecond comes. */
void board_idle(board_t *board);

#endif
