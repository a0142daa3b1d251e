/* The registers in use, by the names of ARM's Cortex-M System Design Kit and of note 386. */
#ifndef MPS2_AN386_H
#define MPS2_AN386_H

#include <stdint.h>

#include "boards/cortex_m4/core.h"

#define CLOCK_HZ 25000000u

typedef struct {
    volatile uint32_t data, state, ctrl, intclear, bauddiv;
} uart_t;
#define UART0 ((uart_t *)0x40004000u)
#define UART1 ((uart_t *)0x40005000u)
#define UART2 ((uart_t *)0x40006000u)
#define UART_STATE_TXFULL (1u << 0)
#define UART_STATE_RXFULL (1u << 1)
#define UART_CTRL_TX (1u << 0)
#define UART_CTRL_RX (1u << 1)
#define UART_CTRL_TX_INTERRUPT (1u << 2)
#define UART_CTRL_RX_INTERRUPT (1u << 3)
#define UART_INT_TX (1u << 0)
#define UART_INT_RX (1u << 1)
#define UART_BAUDDIV_MIN 16u

#define WATCHDOG_LOAD REGISTER(0x40008000u)
#define WATCHDOG_CONTROL REGISTER(0x40008008u)
#define WATCHDOG_CONTROL_INTERRUPT (1u << 0) /* the first time-out, an NMI */
#define WATCHDOG_CONTROL_RESET (1u << 1)     /* the second */
#define WATCHDOG_INTCLR REGISTER(0x4000800Cu)

#define SCC_ID REGISTER(0x4002FFFCu)
#define SCC_ID_NOTE(id) ((id) >> 4 & 0xFFFu) /* of the application note */

/* Of the memory that stands for a flash, what the image leaves free at the end. It is a RAM: it
 * outlasts a reset, not the end of the emulator. */
#define IMAGE_SIZE_MAX 0x3E0000u
#define PAGE_SIZE 0x10000u
#define PAGE(page) (IMAGE_SIZE_MAX + (uint32_t)(page) * PAGE_SIZE)

#define FPGAIO_COUNTER REGISTER(0x40028018u)
#define FPGAIO_PRESCALE REGISTER(0x4002801Cu)

/* The nth UART has 2n to receive and 2n + 1 to transmit. */
enum { UART_IRQ = 0, INTERRUPTS = 32 };

#endif
