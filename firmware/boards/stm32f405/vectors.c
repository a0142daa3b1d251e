#include "boards/cortex_m4/vectors.h"

#include "boards/stm32f405/stm32f405.h"
#include "boards/stm32f405/usart.h"

/* The USARTs are 37, 38 and 39 of 82. */
VECTORS(CRASH_32, CRASH_4, crash_handler, usart1_handler, usart2_handler, usart3_handler, CRASH_32,
        CRASH_8, CRASH_2);
