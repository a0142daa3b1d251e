/* The vector table, whose first 16 entries are the same on every board. C99 has no way to say "all
 * others", so interrupts that nobody asks for are counted out with these. */
#ifndef VECTORS_H
#define VECTORS_H

#include <stdint.h>

#include "boards/cortex_m4/crash.h"

#define CRASH_2 crash_handler, crash_handler
#define CRASH_4 CRASH_2, CRASH_2
#define CRASH_8 CRASH_4, CRASH_4
#define CRASH_16 CRASH_8, CRASH_8
#define CRASH_32 CRASH_16, CRASH_16

typedef void (*handler_t)(void);

extern uint32_t stack_top[];
void reset_handler(void) __attribute__((noreturn));

/* `...` are the board's interrupts, from 0 on. */
#define VECTORS(...)                                                        \
    static const struct {                                                   \
        uint32_t *stack;                                                    \
        handler_t reset, exceptions[13], systick, interrupts[INTERRUPTS];   \
    } vectors __attribute__((section(".vectors"), used)) = {                \
        stack_top,                                                          \
        reset_handler,                                                      \
        {CRASH_8, CRASH_4, crash_handler},                                  \
        crash_systick_handler,                                              \
        {__VA_ARGS__},                                                      \
    }

#endif
