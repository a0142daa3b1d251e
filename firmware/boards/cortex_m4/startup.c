/* All that must be done between reset and main. */
#include "boards/cortex_m4/core.h"
#include "boards/cortex_m4/crash.h"
#include "boards/cortex_m4/vectors.h"

extern uint32_t data_load[], data_start[], data_end[], bss_start[], bss_end[];

int main(void);

void reset_handler(void)
{
    SCB_CPACR |= 0xFu << 20; /* floating-point unit on, before any code that may use it */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    crash_guard_start();

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
