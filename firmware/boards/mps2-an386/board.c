/* MPS2 with application note 386, as QEMU models it. */
#include "boards/board.h"

#include <string.h>

#include "boards/cortex_m4/crash.h"
#include "boards/cortex_m4/watchdog.h"
#include "boards/mps2-an386/mps2_an386.h"
#include "boards/mps2-an386/uart.h"

struct board {
    reset_cause_t reset_cause;
    bool watched;
};

static board_t board;

board_t *board_init(void)
{
    /* No register keeps the cause, but the RAM keeps the record. */
    board.reset_cause = !crash_is_new()                             ? RESET_UNKNOWN
                        : crash_record()->cause == CRASH_WATCHDOG ? RESET_WATCHDOG
                                                                  : RESET_FAULT;
    systick_start((uint32_t)((float)CLOCK_HZ / SUBTICKS_HZ + 0.5f));
    FPGAIO_PRESCALE = CLOCK_HZ / 1000000u - 1u;
    FPGAIO_COUNTER = 0u;
    uart_start();
    return &board;
}

const char *board_name(const board_t *self)
{
    (void)self;
    return "mps2-an386";
}

const char *board_image_name(const board_t *self)
{
    (void)self;
    return SCC_ID_NOTE(SCC_ID) == 0x386u ? "mps2-an386" : "another board";
}

/* The image begins at address 0, which to a compiler is no place at all: it comes out of a
 * register. */
static uint8_t *at(uint32_t address)
{
    __asm__("" : "+r"(address));
    return (uint8_t *)address;
}

const uint8_t *board_image(const board_t *self, size_t *size_max)
{
    (void)self;
    *size_max = IMAGE_SIZE_MAX;
    return at(0u);
}

size_t board_page_size(const board_t *self)
{
    (void)self;
    return PAGE_SIZE;
}

const uint8_t *board_page(const board_t *self, int page)
{
    (void)self;
    return at(PAGE(page));
}

/* As a flash does it. */
bool board_page_erase(board_t *self, int page)
{
    (void)self;
    memset(at(PAGE(page)), 0xFF, PAGE_SIZE);
    return true;
}

bool board_page_write(board_t *self, int page, size_t offset, const uint32_t *words, size_t count)
{
    (void)self;
    volatile uint32_t *to = (volatile uint32_t *)at(PAGE(page) + (uint32_t)offset);
    for (size_t i = 0; i < count; i++) {
        to[i] &= words[i];
    }
    return true;
}

reset_cause_t board_reset_cause(const board_t *self)
{
    return self->reset_cause;
}

/* Its first time-out is an NMI, whose handler makes the record; should that hang, the second one is
 * a reset. The watchdog in software bites before both, as long as interrupts are served. */
void board_feed(board_t *self)
{
    crash_feed(WATCHDOG_SUBTICKS);
    if (!self->watched) {
        self->watched = true;
        WATCHDOG_LOAD = (uint32_t)(WATCHDOG_HARD_S * (float)CLOCK_HZ);
        WATCHDOG_CONTROL = WATCHDOG_CONTROL_INTERRUPT | WATCHDOG_CONTROL_RESET;
    }
    WATCHDOG_INTCLR = 1u; /* starts again from WATCHDOG_LOAD */
}

bool board_read_byte(board_t *self, port_t port, uint8_t *byte)
{
    (void)self;
    return uart_read(port, byte);
}

bool board_write(board_t *self, port_t port, const uint8_t *bytes, size_t size)
{
    (void)self;
    return uart_write(port, bytes, size);
}

uint32_t board_microseconds(const board_t *self)
{
    (void)self;
    return FPGAIO_COUNTER;
}

/* All counters run at 25 MHz, which is one step for 40 emulated instructions: none counts them. */
step_cost_unit_t board_step_cost_unit(const board_t *self)
{
    (void)self;
    return STEP_COST_NONE;
}

void board_step_cost_begin(board_t *self)
{
    (void)self;
}

uint32_t board_step_cost_end(board_t *self)
{
    (void)self;
    return 0;
}

uint32_t board_ticks(const board_t *self)
{
    (void)self;
    return 0;
}

uint32_t board_ticks_per_us(const board_t *self)
{
    (void)self;
    return 1;
}

void board_idle(board_t *self)
{
    (void)self;
    /* Masked interrupts still wake the core: a byte that comes between the test and wfi is not
       slept over. */
    interrupts_off();
    if (!uart_has_bytes()) {
        __asm__ volatile("wfi");
    }
    interrupts_on();
}
