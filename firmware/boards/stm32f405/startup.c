/* From reset to main, and where faults end. */
#include <stddef.h>

#include "stm32f405.h"

extern uint32_t stack_top[], data_load[], data_start[], data_end[], bss_start[], bss_end[];

uint32_t crash_record __attribute__((section(".noinit")));

int main(void);
void reset_handler(void) __attribute__((noreturn));

void system_reset(void)
{
    __asm__ volatile("dsb" ::: "memory");
    SCB_AIRCR = 0x05FA0004u; /* key, SYSRESETREQ */
    for (;;) {
    }
}

/* Every fault and every interrupt that nobody asked for. A controller that has lost its mind is of
   no use to a debugger that is not there: it starts again, and its BOOT says why. */
static void fault_handler(void)
{
    crash_record = CRASH_FAULT;
    system_reset();
}

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
    system_reset();
}

typedef void (*handler_t)(void);

static const struct {
    uint32_t *stack;
    handler_t exceptions[15];
    handler_t interrupts[82];
} vectors __attribute__((section(".vectors"), used)) = {
    .stack = stack_top,
    .exceptions = {reset_handler, fault_handler, fault_handler, fault_handler, fault_handler,
                   fault_handler, NULL, NULL, NULL, NULL, fault_handler, fault_handler, NULL,
                   fault_handler, systick_handler},
    .interrupts = {[USART1_IRQ] = usart1_handler},
};
