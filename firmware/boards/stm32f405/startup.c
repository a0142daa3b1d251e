/* The entrance: vectors, and all that must be done between reset and main. */
#include <stddef.h>

#include "boards/stm32f405/crash.h"
#include "boards/stm32f405/interrupts.h"
#include "boards/stm32f405/stm32f405.h"

extern uint32_t stack_top[], data_load[], data_start[], data_end[], bss_start[], bss_end[];

int main(void);
void reset_handler(void) __attribute__((noreturn));

void reset_handler(void)
{
    SCB_CPACR |= 0xFu << 20; /* floating-point unit on, before any code that may use it */
    __asm__ volatile("dsb\n\tisb" ::: "memory");

    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to < data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = bss_start; to < bss_end; to++) {
        *to = 0u;
    }
    (void)main();
    crash_reset();
}

typedef void (*handler_t)(void);

static const struct {
    uint32_t *stack;
    handler_t exceptions[15];
    handler_t interrupts[82];
} vectors __attribute__((section(".vectors"), used)) = {
    .stack = stack_top,
    .exceptions = {reset_handler, crash_fault, crash_fault, crash_fault, crash_fault, crash_fault,
                   NULL, NULL, NULL, NULL, crash_fault, crash_fault, NULL, crash_fault,
                   systick_handler},
    .interrupts = {[USART1_IRQ] = usart1_handler},
};
