/* The clocks of the chip, and its counters. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define CLOCK_HZ 168000000u /* also what the emulator runs at, unasked */
#define APB1_HZ (CLOCK_HZ / 4u)
#define APB2_HZ (CLOCK_HZ / 2u)

/* 168 MHz from the internal oscillator: within 1 % at room temperature, enough for a serial line,
   and it asks nothing of the board around the chip. */
void clock_start(void);

/* Microseconds and ticks. */
void clock_start_counters(bool emulated);

/* TIM5 counts on while the core sleeps, as DWT's counter does not. */
uint32_t clock_microseconds(void);

/* Cycles; instructions under the emulator. */
uint32_t clock_ticks(bool emulated);

#endif
