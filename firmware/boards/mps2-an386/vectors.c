#include "boards/cortex_m4/vectors.h"

#include "boards/mps2-an386/mps2_an386.h"
#include "boards/mps2-an386/uart.h"

/* Each UART has one interrupt to receive and one to transmit. */
VECTORS(uart0_handler, uart0_handler, uart1_handler, uart1_handler, uart2_handler, uart2_handler,
        CRASH_16, CRASH_8, CRASH_2);
