/* STM32F405, and QEMU's netduinoplus2, which models a part of it: RCC, PWR, FLASH and GPIO read 0
   there and DWT does not count, so no wait may be without end. */
#include "boards/board.h"

#include "boards/stm32f405/crash.h"
#include "boards/stm32f405/interrupts.h"
#include "boards/stm32f405/stm32f405.h"
#include "wire/frame.h"

#define CLOCK_HZ 168000000u /* also what the emulator runs at, unasked */
#define USART_CLOCK_HZ (CLOCK_HZ / 2u) /* APB2 */
#define BAUD 2000000u                  /* divides 84 MHz without a rest */

/* PLLRDY comes within 0.2 ms, some 400 turns at 16 MHz; fifty times that is long enough to wait. */
#define PLL_TURNS_MAX 20000u

/* Bytes that come during a control step: 1 ms at 2 Mbaud is 200, and the longest frame is whole. A
 * power of two. */
#define RING_SIZE (FRAME_SIZE_MAX <= 256 ? 512u : 2048u)

struct board {
    volatile uint32_t milliseconds;
    volatile uint32_t head; /* written by the interrupt only */
    volatile uint32_t tail; /* written by board_read_byte only */
    volatile uint8_t ring[RING_SIZE];
    bool emulated;
    reset_cause_t reset_cause;
    uint32_t step_cost_start;
    uint32_t step_cost_overhead;
};

static board_t board; /* the interrupt handlers have to find it */

static void interrupts_off(void)
{
    __asm__ volatile("cpsid i" ::: "memory");
}

static void interrupts_on(void)
{
    __asm__ volatile("cpsie i" ::: "memory");
}

void systick_handler(void)
{
    board.milliseconds++;
}

void usart1_handler(void)
{
    const uint32_t status = USART1_SR;
    const uint8_t byte = (uint8_t)USART1_DR; /* this read also clears RXNE and an overrun */
    const uint32_t head = board.head;
    /* A full ring drops the byte; the frame's checksum will tell. */
    if ((status & USART_SR_RXNE) != 0u && head - board.tail < RING_SIZE) {
        board.ring[head % RING_SIZE] = byte;
        board.head = head + 1u;
    }
}

/* 168 MHz from the internal oscillator: within 1 % at room temperature, enough for a serial line,
   and it asks nothing of the board around the chip. */
static void start_clock(void)
{
    FLASH_ACR = (7u << 8) | 5u; /* prefetch, both caches, 5 wait states */
    RCC_PLLCFGR = (7u << 24) | (168u << 6) | 8u; /* 16 MHz / 8 * 168 / 2; Q = 7 */
    RCC_CR |= RCC_CR_PLLON;
    for (uint32_t turn = 0; (RCC_CR & RCC_CR_PLLRDY) == 0u; turn++) {
        if (turn == PLL_TURNS_MAX) {
            crash_reset(); /* at 16 MHz the baud rate is out of reach: try again */
        }
    }
    RCC_CFGR = (4u << 13) | (5u << 10) | 2u; /* APB2 = half, APB1 = a quarter, clock from the PLL */
    for (uint32_t turn = 0; (RCC_CFGR & (3u << 2)) != (2u << 2); turn++) {
        if (turn == PLL_TURNS_MAX) {
            crash_reset();
        }
    }
}

static reset_cause_t read_reset_cause(void)
{
    const uint32_t flags = RCC_CSR;
    RCC_CSR |= RCC_CSR_RMVF;
    if (crash_was_fault()) {
        return RESET_FAULT;
    }
    /* Each cause also pulls the pin, and power-on sets several: the most telling one first. */
    return (flags & RCC_CSR_PORRSTF) != 0u    ? RESET_POWER_ON
           : (flags & RCC_CSR_WATCHDOG) != 0u ? RESET_WATCHDOG
           : (flags & RCC_CSR_SFTRSTF) != 0u  ? RESET_SOFTWARE
           : (flags & RCC_CSR_PINRSTF) != 0u  ? RESET_PIN
                                              : RESET_UNKNOWN;
}

/* PA9 sends, PA10 receives, pulled up so that an open line is a quiet one. */
static void start_usart(void)
{
    RCC_AHB1ENR |= RCC_AHB1ENR_GPIOAEN;
    RCC_APB2ENR |= RCC_APB2ENR_USART1EN;
    GPIOA_AFRH = (GPIOA_AFRH & ~0xFF0u) | 0x770u;
    GPIOA_OSPEEDR |= 2u << 18;
    GPIOA_PUPDR = (GPIOA_PUPDR & ~(3u << 20)) | (1u << 20);
    GPIOA_MODER = (GPIOA_MODER & ~(15u << 18)) | (10u << 18);
    USART1_BRR = USART_CLOCK_HZ / BAUD;
    USART1_CR1 = USART_CR1_UE | USART_CR1_RXNEIE | USART_CR1_TE | USART_CR1_RE;
    NVIC_ISER(USART1_IRQ) = 1u << (USART1_IRQ % 32u);
}

static void start_counters(void)
{
    SYSTICK_LOAD = CLOCK_HZ / 1000u - 1u;
    SYSTICK_VAL = 0u;
    SYSTICK_CTRL = 7u; /* core clock, interrupt, on */
    if (board.emulated) {
        RCC_APB1ENR |= RCC_APB1ENR_TIM2EN;
        TIM2_PSC = 0u;
        TIM2_ARR = 0xFFFFFFFFu;
        TIM2_EGR = 1u;
        TIM2_CR1 = 1u;
    } else {
        DEMCR |= 1u << 24;
        DWT_CYCCNT = 0u;
        DWT_CTRL |= 1u;
    }
    board_step_cost_begin(&board);
    board.step_cost_overhead = board_step_cost_end(&board);
}

board_t *board_init(void)
{
    board.emulated = RCC_CR == 0u; /* on silicon HSION is set after every reset */
    if (!board.emulated) {
        start_clock();
    }
    board.reset_cause = read_reset_cause();
    start_counters();
    start_usart();
    return &board;
}

const char *board_name(const board_t *self)
{
    return self->emulated ? "stm32f405-qemu" : "stm32f405";
}

reset_cause_t board_reset_cause(const board_t *self)
{
    return self->reset_cause;
}

bool board_read_byte(board_t *self, uint8_t *byte)
{
    const uint32_t tail = self->tail;
    if (tail == self->head) {
        return false;
    }
    *byte = self->ring[tail % RING_SIZE];
    self->tail = tail + 1u;
    return true;
}

void board_write(board_t *self, const uint8_t *bytes, size_t size)
{
    (void)self;
    for (size_t i = 0; i < size; i++) {
        /* A byte takes 5 us, some 200 turns. */
        for (uint32_t turn = 0; (USART1_SR & USART_SR_TXE) == 0u && turn < 2000u; turn++) {
        }
        USART1_DR = bytes[i];
    }
}

uint32_t board_milliseconds(const board_t *self)
{
    return self->milliseconds;
}

step_cost_unit_t board_step_cost_unit(const board_t *self)
{
    return self->emulated ? STEP_COST_INSTRUCTIONS : STEP_COST_CYCLES;
}

uint32_t board_ticks(const board_t *self)
{
    return self->emulated ? TIM2_CNT : DWT_CYCCNT;
}

/* An emulated instruction counts as a cycle. */
uint32_t board_ticks_per_us(const board_t *self)
{
    (void)self;
    return CLOCK_HZ / 1000000u;
}

/* With -icount shift=0 one instruction is one tick of TIM2. QEMU keeps a byte until the receiver
 * takes it, so interrupts can be masked there and the count is exact. Silicon would lose bytes
 * after 5 us: its count holds the interrupts that came meanwhile, some 40 cycles a byte. */
void board_step_cost_begin(board_t *self)
{
    if (self->emulated) {
        interrupts_off();
    }
    self->step_cost_start = board_ticks(self);
}

uint32_t board_step_cost_end(board_t *self)
{
    const uint32_t now = board_ticks(self);
    const uint32_t spent = now - self->step_cost_start;
    if (self->emulated) {
        interrupts_on();
    }
    return spent > self->step_cost_overhead ? spent - self->step_cost_overhead : 0u;
}

void board_idle(board_t *self)
{
    /* Masked interrupts still wake the core: a byte that comes between the test and wfi is not
       slept over. */
    interrupts_off();
    if (self->tail == self->head) {
        __asm__ volatile("wfi");
    }
    interrupts_on();
}
