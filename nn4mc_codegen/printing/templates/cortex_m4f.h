/* What the program that measures needs of the emulated board, and no more. */
#ifndef CORTEX_M4F_H
#define CORTEX_M4F_H

#include <stdint.h>

#ifdef MPS2_AN386
/* Counts down, 25 million ticks a second; under -icount shift=8 an instruction takes 6.4. */
#define TICKS (~*(volatile uint32_t *)0x40000004u)
#else
/* Under -icount shift=0 this timer counts executed instructions. */
#define TIM2_CNT (*(volatile uint32_t *)0x40000024u)
#define TICKS TIM2_CNT
#endif

extern uint32_t stack_bottom[];

/* Files of the host, through semihosting. Opening one that is missing ends the program. */
int file_open(const char *name, int mode);
#define READ_BINARY 1
#define WRITE_BINARY 5
/* Whether all bytes came. */
int file_read(int file, void *bytes, uint32_t size);
void file_write(int file, const void *bytes, uint32_t size);

#endif
