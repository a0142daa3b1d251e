/* How a run ends early: a reset, and a record of its cause that is kept across it. */
#ifndef CRASH_H
#define CRASH_H

#include <stdbool.h>

void crash_reset(void) __attribute__((noreturn));

/* For a fault, or an interrupt that nobody asked for. */
void crash_fault(void) __attribute__((noreturn));

/* Was the last run ended by crash_fault? True once. */
bool crash_was_fault(void);

#endif
