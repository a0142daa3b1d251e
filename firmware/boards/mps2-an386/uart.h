/* The serial lines: UART0 to the host, UART1 to the sensors, UART2 to the actuators. */
#ifndef UART_H
#define UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boards/board.h"
#include "controller_config.h"

void uart_start(void);
bool uart_read(port_t port, uint8_t *byte);
bool uart_write(port_t port, const uint8_t *bytes, size_t size);

/* Is there a byte to read, on any of the lines? */
bool uart_has_bytes(void);

void uart0_handler(void);
void uart1_handler(void);
void uart2_handler(void);

#endif
