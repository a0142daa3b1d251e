#include "boards/stm32f405/crash.h"

#include "boards/stm32f405/stm32f405.h"

#define FAULT 0xFA017ED1u

/* Not set at the start. After power-on it holds anything, and hardly ever FAULT. */
static uint32_t record __attribute__((section(".noinit")));

void crash_reset(void)
{
    __asm__ volatile("dsb" ::: "memory");
    SCB_AIRCR = 0x05FA0004u; /* key, SYSRESETREQ */
    for (;;) {
    }
}

/* A debugger is rarely there to look at a controller that has lost its mind: it starts again,
 * and its BOOT says why. */
void crash_fault(void)
{
    record = FAULT;
    crash_reset();
}

bool crash_was_fault(void)
{
    const bool fault = record == FAULT;
    record = 0u;
    return fault;
}
