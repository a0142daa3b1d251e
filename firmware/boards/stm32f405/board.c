/* STM32F405, and QEMU's netduinoplus2, which models a part of it: RCC, PWR, FLASH, GPIO and IWDG
   read 0 there and DWT does not count, so no wait may be without end. */
#include "boards/board.h"

#include "boards/cortex_m4/crash.h"
#include "boards/cortex_m4/watchdog.h"
#include "boards/stm32f405/clock.h"
#include "boards/stm32f405/flash.h"
#include "boards/stm32f405/stm32f405.h"
#include "boards/stm32f405/usart.h"
#include "solver/loop_bound.h"

#define LSI_HZ 32000.0f /* the independent watchdog's own oscillator: 17 to 47 kHz */
#define IWDG_COUNTS (WATCHDOG_HARD_S * LSI_HZ / 256.0f)
#define IWDG_RELOAD (IWDG_COUNTS < (float)IWDG_RLR_MAX ? (uint32_t)IWDG_COUNTS : IWDG_RLR_MAX)

struct board {
    bool emulated;
    bool watched;
    reset_cause_t reset_cause;
    uint32_t step_cost_start;
    uint32_t step_cost_overhead;
};

static board_t board;

static reset_cause_t read_reset_cause(void)
{
    const uint32_t flags = RCC_CSR;
    RCC_CSR |= RCC_CSR_RMVF;
    /* Each cause also pulls the pin, and power-on sets several: the most telling one first. */
    if ((flags & RCC_CSR_PORRSTF) != 0u) {
        crash_forget();
        return RESET_POWER_ON;
    }
    if (crash_is_new()) {
        return crash_record()->cause == CRASH_WATCHDOG ? RESET_WATCHDOG : RESET_FAULT;
    }
    if ((flags & RCC_CSR_WATCHDOG) != 0u) {
        crash_watchdog_reset();
        return RESET_WATCHDOG;
    }
    return (flags & RCC_CSR_SFTRSTF) != 0u   ? RESET_SOFTWARE
           : (flags & RCC_CSR_PINRSTF) != 0u ? RESET_PIN
                                             : RESET_UNKNOWN;
}

board_t *board_init(void)
{
    board.emulated = RCC_CR == 0u; /* on silicon HSION is set after every reset */
    if (!board.emulated) {
        clock_start();
    }
    board.reset_cause = read_reset_cause();
    systick_start((uint32_t)((float)CLOCK_HZ / SUBTICKS_HZ + 0.5f));
    clock_start_counters(board.emulated);
    board_step_cost_begin(&board);
    board.step_cost_overhead = board_step_cost_end(&board);
    usart_start(board.emulated);
    return &board;
}

const char *board_name(const board_t *self)
{
    return self->emulated ? "stm32f405-qemu" : "stm32f405";
}

/* The emulator does not say which chip it is. */
const char *board_image_name(const board_t *self)
{
    return self->emulated || (DBGMCU_IDCODE & DBGMCU_DEVICE) == DEVICE_F405 ? "stm32f405"
                                                                            : "another chip";
}

const uint8_t *board_image(const board_t *self, size_t *size_max)
{
    (void)self;
    *size_max = FLASH_IMAGE_SIZE;
    return (const uint8_t *)FLASH_START;
}

/* ------------------------------------------------------------------ what outlasts the power */

/* QEMU's flash cannot be written. */
size_t board_page_size(const board_t *self)
{
    return self->emulated ? 0u : FLASH_PAGE_SIZE;
}

const uint8_t *board_page(const board_t *self, int page)
{
    (void)self;
    return (const uint8_t *)FLASH_PAGE(page);
}

/* The independent watchdog takes a new time when its last one has been taken over: after five
 * counts of an oscillator of 17 kHz, of 256 each. */
#define RELOAD_US 100000u

static void watch_for(uint32_t counts)
{
    const uint32_t since_us = clock_microseconds();
    while ((IWDG_SR & IWDG_SR_RVU) != 0u && clock_microseconds() - since_us < RELOAD_US) {
        LOOP_BOUND(RELOAD_US); /* a turn takes more than a cycle */
    }
    IWDG_KR = IWDG_KR_UNLOCK;
    IWDG_RLR = counts;
    while ((IWDG_SR & IWDG_SR_RVU) != 0u && clock_microseconds() - since_us < 2u * RELOAD_US) {
        LOOP_BOUND(2u * RELOAD_US);
    }
    IWDG_KR = IWDG_KR_FEED;
}

/* Nobody feeds while the flash is erased: the watchdogs wait for longer. That in hardware comes
 * then after 22 s at the earliest. */
bool board_page_erase(board_t *self, int page)
{
    crash_feed(WATCHDOG_SUBTICKS + (uint32_t)(2.0f * FLASH_ERASE_S * SUBTICKS_HZ));
    if (self->watched) {
        watch_for(IWDG_RLR_MAX);
    }
    const bool erased = flash_erase(page);
    if (self->watched) {
        watch_for(IWDG_RELOAD);
    }
    crash_feed(WATCHDOG_SUBTICKS);
    return erased;
}

bool board_page_write(board_t *self, int page, size_t offset, const uint32_t *words, size_t count)
{
    (void)self;
    return flash_write(FLASH_PAGE(page) + (uint32_t)offset, words, count);
}

reset_cause_t board_reset_cause(const board_t *self)
{
    return self->reset_cause;
}

/* The independent watchdog cannot be stopped again, so it starts with the first cycle that has
 * gone well. The one in software bites before it, as long as interrupts are served. */
void board_feed(board_t *self)
{
    crash_feed(WATCHDOG_SUBTICKS);
    if (!self->watched) {
        self->watched = true;
        IWDG_KR = IWDG_KR_UNLOCK;
        IWDG_PR = 6u; /* a count is 256 of LSI */
        IWDG_RLR = IWDG_RELOAD;
        IWDG_KR = IWDG_KR_START;
    }
    IWDG_KR = IWDG_KR_FEED;
}

/* ------------------------------------------------------------------ bytes and time */

bool board_read_byte(board_t *self, port_t port, uint8_t *byte)
{
    (void)self;
    return usart_read(port, byte);
}

bool board_write(board_t *self, port_t port, const uint8_t *bytes, size_t size)
{
    (void)self;
    return usart_write(port, bytes, size);
}

uint32_t board_microseconds(const board_t *self)
{
    (void)self;
    return clock_microseconds();
}

step_cost_unit_t board_step_cost_unit(const board_t *self)
{
    return self->emulated ? STEP_COST_INSTRUCTIONS : STEP_COST_CYCLES;
}

uint32_t board_ticks(const board_t *self)
{
    return clock_ticks(self->emulated);
}

/* An emulated instruction counts as a cycle. */
uint32_t board_ticks_per_us(const board_t *self)
{
    (void)self;
    return CLOCK_HZ / 1000000u;
}

/* With -icount shift=0 one instruction is one tick of TIM2. QEMU keeps a byte until the receiver
 * takes it, so interrupts can wait there and the count is exact. Silicon would lose bytes after
 * 5 us: its count holds the interrupts that came meanwhile, some 40 cycles a byte. */
void board_step_cost_begin(board_t *self)
{
    if (self->emulated) {
        interrupts_mask(INTERRUPT_PRIORITY);
    }
    self->step_cost_start = board_ticks(self);
}

uint32_t board_step_cost_end(board_t *self)
{
    const uint32_t now = board_ticks(self);
    const uint32_t spent = now - self->step_cost_start;
    if (self->emulated) {
        interrupts_mask(0u);
    }
    return spent > self->step_cost_overhead ? spent - self->step_cost_overhead : 0u;
}

void board_idle(board_t *self)
{
    (void)self;
    /* Masked interrupts still wake the core: a byte that comes between the test and wfi is not
       slept over. */
    interrupts_off();
    if (!usart_has_bytes()) {
        __asm__ volatile("wfi");
    }
    interrupts_on();
}
