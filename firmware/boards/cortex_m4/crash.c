#include "boards/cortex_m4/crash.h"

#include <stddef.h>

#include "boards/cortex_m4/core.h"

#define RECORD 0xC4A54EC0u
#define PAINT 0x57AC4F4Eu /* four different bytes: a loop that paints becomes no call of memset */

extern uint32_t stack_bottom[], stack_top[], text_start[], text_end[];

/* Not set at the start: after power-on it holds anything. The sum tells, as it also does where a
 * program gone wild has written here. */
static struct {
    crash_t crash;
    uint32_t is_new;
    uint32_t sum;
} record __attribute__((section(".noinit")));

/* Subticks left, 0: nobody has fed yet. */
uint32_t crash_watchdog_left;

static const uint8_t *safe_bytes;
static size_t safe_size;

/* A fault of the handler itself must not go round for ever. */
static volatile bool crashing;

static uint32_t record_sum(void)
{
    const uint32_t *words = (const uint32_t *)&record;
    uint32_t sum = RECORD;
    for (size_t i = 0; i < offsetof(__typeof__(record), sum) / sizeof words[0]; i++) {
        sum = (sum << 5 | sum >> 27) ^ words[i];
    }
    return sum;
}

const crash_t *crash_record(void)
{
    return record.sum == record_sum() ? &record.crash : NULL;
}

bool crash_is_new(void)
{
    const bool is_new = crash_record() != NULL && record.is_new != 0u;
    if (is_new) {
        record.is_new = 0u;
        record.sum = record_sum();
    }
    return is_new;
}

const crash_t *board_crash(const board_t *board)
{
    (void)board;
    return crash_record();
}

void crash_forget(void)
{
    record.sum = ~record_sum();
}

static void keep(const crash_t *crash, bool is_new)
{
    record.crash = *crash;
    record.is_new = is_new;
    record.sum = record_sum();
}

void crash_watchdog_reset(void)
{
    static const crash_t crash = {.cause = CRASH_WATCHDOG};
    keep(&crash, false);
}

void crash_feed(uint32_t subticks)
{
    crash_watchdog_left = subticks;
}

/* ------------------------------------------------------------------ the stack */

/* The stack is first in RAM and grows down, and below RAM is nothing that the program needs. So
 * the guard costs no memory, and no frame is large enough to reach over it:
 *
 *     0x1FFF0000   guard: no access    0x20000000 stack_bottom   stack   stack_top   data
 */
void crash_guard_start(void)
{
    uint32_t *sp;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    for (uint32_t *word = stack_bottom; word < sp; word++) {
        *word = PAINT;
    }
    MPU_RBAR = ((uint32_t)stack_bottom - 0x10000u) | MPU_RBAR_VALID;
    MPU_RASR = MPU_RASR_XN | MPU_RASR_64K | MPU_RASR_ENABLE;
    MPU_CTRL = MPU_CTRL_ENABLE | MPU_CTRL_PRIVDEFENA; /* elsewhere all is as without an MPU */
    SCB_SHCSR |= SCB_SHCSR_FAULTS;
    SCB_CCR |= SCB_CCR_DIV_0_TRP;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
}

uint32_t board_stack_free(const board_t *board)
{
    (void)board;
    const uint32_t *word = stack_bottom;
    while (word < stack_top && *word == PAINT) {
        word++;
    }
    return (uint32_t)(word - stack_bottom) * (uint32_t)sizeof word[0];
}

/* Does a call stand before this address? It is odd, as Thumb code's are, BL has 4 bytes, BLX 2. */
static bool is_return_address(uint32_t address)
{
    if ((address & 1u) == 0u || address < (uint32_t)text_start + 4u
        || address > (uint32_t)text_end) {
        return false;
    }
    const uint16_t *code = (const uint16_t *)(address - 1u);
    return ((code[-2] & 0xF800u) == 0xF000u && (code[-1] & 0xD000u) == 0xD000u)
           || (code[-1] & 0xFF87u) == 0x4780u;
}

/* Where the stack has run over there was no room for the frame that says where. The return address
 * that was pushed last tells who had called. Below sp, and in a frame of which only a part is still
 * in the stack, an older one may stand. */
static uint32_t last_return_address(const uint32_t *sp)
{
    for (const uint32_t *word = sp > stack_bottom ? sp : stack_bottom; word < stack_top; word++) {
        if (is_return_address(*word)) {
            return *word;
        }
    }
    return 0u;
}

/* ------------------------------------------------------------------ the end */

void crash_reset(void)
{
    __asm__ volatile("dsb" ::: "memory");
    SCB_AIRCR = SCB_AIRCR_SYSRESETREQ;
    for (;;) {
    }
}

/* The record comes first: whatever the rest does, there is one. */
static void end(crash_t *crash) __attribute__((noreturn));
static void end(crash_t *crash)
{
    interrupts_off();
    if (!crashing) {
        crashing = true;
        crash->stack_free = board_stack_free(NULL);
        keep(crash, true);
        if (safe_size > 0u) {
            crash_write_last(safe_bytes, safe_size);
        }
    }
    crash_reset();
}

void board_fail(board_t *board, uint32_t line)
{
    (void)board;
    crash_t crash = {
        .cause = CRASH_ASSERTION,
        .pc = (uint32_t)__builtin_return_address(0),
        .status = line,
    };
    end(&crash);
}

void board_safe_bytes(board_t *board, const uint8_t *bytes, size_t size)
{
    (void)board;
    interrupts_off(); /* SysTick's watchdog must not find one half of it */
    safe_bytes = bytes;
    safe_size = size;
    interrupts_on();
}

/* A fault while faults could not be taken arrives as a hard fault; its bits say which it was. */
static crash_cause_t cause_of(uint32_t exception, uint32_t status)
{
    enum { NMI = 2, HARD_FAULT, MEMORY_FAULT, BUS_FAULT, USAGE_FAULT, SYSTICK = 15 };

    switch (exception) {
    case HARD_FAULT:
        if ((SCB_HFSR & SCB_HFSR_FORCED) == 0u) {
            return CRASH_HARD_FAULT;
        }
        return (status & SCB_CFSR_MEMORY) != 0u  ? CRASH_MEMORY_FAULT
               : (status & SCB_CFSR_BUS) != 0u   ? CRASH_BUS_FAULT
               : (status & SCB_CFSR_USAGE) != 0u ? CRASH_USAGE_FAULT
                                                 : CRASH_HARD_FAULT;
    case MEMORY_FAULT:
        return CRASH_MEMORY_FAULT;
    case BUS_FAULT:
        return CRASH_BUS_FAULT;
    case USAGE_FAULT:
        return CRASH_USAGE_FAULT;
    case NMI:
    case SYSTICK:
        return CRASH_WATCHDOG;
    default:
        return CRASH_INTERRUPT;
    }
}

/* crash_handler's second half, on a fresh stack; the frame's words are 0 where there is none. sp is
 * the interrupted program's. */
void crash_exception(uint32_t pc, uint32_t lr, uint32_t psr, const uint32_t *sp)
    __attribute__((noreturn, used));
void crash_exception(uint32_t pc, uint32_t lr, uint32_t psr, const uint32_t *sp)
{
    uint32_t exception;
    __asm__ volatile("mrs %0, ipsr" : "=r"(exception));
    const uint32_t status = SCB_CFSR;
    crash_t crash = {
        .cause = (uint8_t)cause_of(exception, status),
        .pc = pc,
        .lr = lr,
        .psr = psr,
        .status = status,
    };
    if ((pc | lr | psr) == 0u) {
        crash.lr = last_return_address(sp);
    }
    if ((status & SCB_CFSR_MMARVALID) != 0u) {
        crash.address = SCB_MMFAR;
    } else if ((status & SCB_CFSR_BFARVALID) != 0u) {
        crash.address = SCB_BFAR;
    }
    if (crash.cause == CRASH_INTERRUPT) {
        crash.status = exception;
    }
    end(&crash);
}

/* Where the stack has run over, a push would fault again and lock the core up. So nothing is
 * pushed: what the frame says goes into registers, and the stack begins anew. The frame, at sp:
 *
 *     r0  r1  r2  r3  r12  lr  pc  psr          lr is at 20, pc at 24, psr at 28
 *
 * A frame that has not been written whole (MSTKERR, STKERR) or lies outside of the stack is none.
 * Where bit 4 of lr is 0, it goes on with 18 words for floating-point registers.
 * FPCCR.LSPACT (bit 0 of 0xE000EF34) goes: room for the floating-point registers has been left in
 * the frame, and the first such instruction would store them there. */
__attribute__((naked)) void crash_handler(void)
{
    __asm__ volatile(
        "mov  r3, sp\n"
        "ldr  r12, =0xE000ED28\n" /* CFSR */
        "ldr  r12, [r12]\n"
        "movw r0, #0x1010\n" /* STKERR, MSTKERR */
        "tst  r12, r0\n"
        "mov  r0, #0\n"
        "mov  r1, #0\n"
        "mov  r2, #0\n"
        "bne  1f\n"
        "ldr  r12, =stack_bottom\n"
        "cmp  r3, r12\n"
        "blo  1f\n"
        "ldr  r12, =stack_top - 32\n"
        "cmp  r3, r12\n"
        "bhi  1f\n"
        "ldr  r0, [r3, #24]\n"
        "ldr  r1, [r3, #20]\n"
        "ldr  r2, [r3, #28]\n"
        "1:\n"
        "add  r3, r3, #32\n"
        "tst  lr, #0x10\n"
        "it   eq\n"
        "addeq r3, r3, #72\n"
        "ldr  r12, =stack_top\n"
        "mov  sp, r12\n"
        "ldr  lr, =0xE000EF34\n"
        "ldr  r12, [lr]\n"
        "bic  r12, r12, #1\n"
        "str  r12, [lr]\n"
        "b    crash_exception\n"
        ".ltorg\n");
}

/* Naked, so that sp is still where the interrupted program's frame is. */
__attribute__((naked)) void crash_systick_handler(void)
{
    __asm__ volatile(
        "ldr  r0, =crash_watchdog_left\n"
        "ldr  r1, [r0]\n"
        "cbz  r1, 1f\n"
        "subs r1, r1, #1\n"
        "str  r1, [r0]\n"
        "beq  crash_handler\n"
        "1:\n"
        "bx   lr\n"
        ".ltorg\n");
}
