#include "boards/stm32f405/clock.h"

#include "boards/cortex_m4/crash.h"
#include "boards/stm32f405/stm32f405.h"
#include "solver/loop_bound.h"

/* PLLRDY comes within 0.2 ms, some 400 turns at 16 MHz; fifty times that is long enough to wait. */
#define PLL_TURNS_MAX 20000u

#define EMULATED_TIMER_HZ 1000000000u
#define TIMER_HZ (2u * APB1_HZ) /* where APB1 is divided, its timers run at twice its clock */

void clock_start(void)
{
    FLASH_ACR = (7u << 8) | 5u; /* prefetch, both caches, 5 wait states */
    RCC_PLLCFGR = (7u << 24) | (168u << 6) | 8u; /* 16 MHz / 8 * 168 / 2; Q = 7 */
    RCC_CR |= RCC_CR_PLLON;
    for (uint32_t turn = 0; (RCC_CR & RCC_CR_PLLRDY) == 0u; turn++) {
        LOOP_BOUND(PLL_TURNS_MAX + 1u);
        if (turn == PLL_TURNS_MAX) {
            crash_reset(); /* at 16 MHz the baud rate is out of reach: try again */
        }
    }
    RCC_CFGR = (4u << 13) | (5u << 10) | 2u; /* APB2 = half, APB1 = a quarter, clock from the PLL */
    for (uint32_t turn = 0; (RCC_CFGR & (3u << 2)) != (2u << 2); turn++) {
        LOOP_BOUND(PLL_TURNS_MAX + 1u);
        if (turn == PLL_TURNS_MAX) {
            crash_reset();
        }
    }
}

static void start_timer(timer_t *timer, uint32_t clocks_a_count)
{
    timer->psc = clocks_a_count - 1u;
    timer->arr = 0xFFFFFFFFu;
    timer->egr = 1u;
    timer->cr1 = 1u;
}

void clock_start_counters(bool emulated)
{
    RCC_APB1ENR |= RCC_APB1ENR_TIM5EN;
    start_timer(TIM5, (emulated ? EMULATED_TIMER_HZ : TIMER_HZ) / 1000000u);
    if (emulated) {
        RCC_APB1ENR |= RCC_APB1ENR_TIM2EN;
        start_timer(TIM2, 1u);
    } else {
        DEMCR |= 1u << 24;
        DWT_CYCCNT = 0u;
        DWT_CTRL |= 1u;
    }
}

uint32_t clock_microseconds(void)
{
    return TIM5->cnt;
}

uint32_t clock_ticks(bool emulated)
{
    return emulated ? TIM2->cnt : DWT_CYCCNT;
}
