/* The interrupt handlers of board.c, for the vectors of startup.c. */
#ifndef INTERRUPTS_H
#define INTERRUPTS_H

void usart1_handler(void);
void systick_handler(void);

#endif
