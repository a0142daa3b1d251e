/* How a run ends early: a record of it, outputs put safe, a reset that keeps the record. Behind
 * board_crash, board_fail, board_safe_bytes and board_stack_free. */
#ifndef CRASH_H
#define CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boards/board.h"

/* Paints the stack, puts the guard below it, lets each fault have its handler. First of all after
 * a reset, as long as hardly any of the stack is in use. */
void crash_guard_start(void);

/* The handler of all exceptions but reset and those that somebody has asked for. */
void crash_handler(void);

/* SysTick's handler: counts the watchdog down, if crash_feed has ever been called. */
void crash_systick_handler(void);

/* The watchdog bites at the subticks-th call of crash_systick_handler from now on. */
void crash_feed(uint32_t subticks);

void crash_reset(void) __attribute__((noreturn));

/* What ended a run before its time since power-on, the last such; NULL: nothing did. */
const crash_t *crash_record(void);

/* Was it the very last run? True once. */
bool crash_is_new(void);

/* At power-on: memory that looks like a record is none. */
void crash_forget(void);

/* A reset by a watchdog that is no exception: nobody was left to make a record. */
void crash_watchdog_reset(void);

/* The board's own: sends by polling, in bounded time and whatever else is broken, what has been
 * queued for the actuators, then these bytes. Interrupts are off. */
void crash_write_last(const uint8_t *bytes, size_t size);

#endif
