/* The serial lines: USART1 to the host, USART2 to the sensors, USART3 to the actuators. */
#ifndef USART_H
#define USART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boards/board.h"
#include "controller_config.h"

/* The emulator has no transmit interrupt and takes a byte at once: nothing is queued there. */
void usart_start(bool emulated);
bool usart_read(port_t port, uint8_t *byte);
bool usart_write(port_t port, const uint8_t *bytes, size_t size);

/* Is there a byte to read, on any of the lines? */
bool usart_has_bytes(void);

void usart1_handler(void);
void usart2_handler(void);
void usart3_handler(void);

#endif
