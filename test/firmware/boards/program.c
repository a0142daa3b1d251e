/* A program that does to a board what test_boards.py asks for: one letter on the host's line, one
 * thing. At its start it says what the board knows of the last run. */
#include <string.h>

#include "boards/board.h"
#include "boards/cortex_m4/core.h"

static board_t *board;
static const uint8_t safe[] = "safe now\n"; /* with the zero at its end */

static void put(port_t port, const void *bytes, size_t size)
{
    while (!board_write(board, port, bytes, size)) {
    }
}

static void put_word(uint32_t word)
{
    put(PORT_HOST, &word, sizeof word);
}

/* 'B', reset cause, the crash with its cause as a word, bytes of the stack free now, name, 0 */
static void say_boot(void)
{
    static const crash_t none;
    const crash_t *crash = board_crash(board);
    const uint8_t cause = (uint8_t)board_reset_cause(board);

    crash = crash == NULL ? &none : crash;
    put(PORT_HOST, "B", 1);
    put(PORT_HOST, &cause, 1);
    put_word(crash->cause);
    put_word(crash->pc);
    put_word(crash->lr);
    put_word(crash->psr);
    put_word(crash->status);
    put_word(crash->address);
    put_word(crash->stack_free);
    put_word(board_stack_free(board));
    put(PORT_HOST, board_name(board), strlen(board_name(board)) + 1u);
}

/* ------------------------------------------------------------------ ways to end */

#define APART __attribute__((noinline, noclone))

static volatile uint32_t zero;
static volatile float kept = 1.5f;

APART static uint32_t divide_by_zero(void)
{
    return 1000u / zero;
}

APART static uint32_t read_nowhere(void)
{
    return REGISTER(0x60000000u + zero);
}

APART static void undefined_instruction(void)
{
    __asm__ volatile("udf #1");
}

APART static void jump_to_zero(void)
{
    void (*volatile nowhere)(void) = (void (*)(void))zero;
    nowhere();
}

APART static void breakpoint(void)
{
    __asm__ volatile("bkpt #1");
}

/* The compiler must not see that this has no end. */
APART static uint32_t recurse(uint32_t depth)
{
    volatile uint32_t here[4] = {depth};
    return (zero == 0u ? recurse(depth + 1u) : 0u) + here[0];
}

/* Frames of exceptions then have room for floating-point registers, which are stored late. */
APART static uint32_t recurse_with_floats(float depth)
{
    kept = depth;
    return (zero == 0u ? recurse_with_floats(depth + 1.0f) : 0u) + (uint32_t)kept;
}

APART static uint32_t recurse_while_masked(void)
{
    interrupts_off();
    return recurse(0);
}

/* At once far into the guard. */
APART static uint32_t large_frame(void)
{
    volatile uint32_t *much = __builtin_alloca(30000u + zero);
    much[0] = 1u;
    return much[zero];
}

APART static void fail_assertion(void)
{
    CHECK(board, zero == 1u);
}

APART static void ask_for_interrupt(void)
{
    NVIC_ISER(20u) = 1u << 20;
    REGISTER(0xE000E200u) = 1u << 20; /* pending */
    __asm__ volatile("dsb\n\tisb");
}

APART static void hang(void)
{
    while (zero == 0u) {
    }
}

APART static void hang_deaf(void)
{
    interrupts_off();
    while (zero == 0u) {
    }
}

APART static void fault_while_masked(void)
{
    interrupts_off();
    zero = 1000u / zero;
}

APART static void fault_with_floats(void)
{
    kept *= 2.0f;
    undefined_instruction();
}

APART static void wild_safe_bytes(void)
{
    board_safe_bytes(board, (const uint8_t *)0x60000000u, 9);
    undefined_instruction();
}

/* ------------------------------------------------------------------ what goes on */

/* Microseconds and ticks before and after 100 idle waits, then 1000 reads of the clock in a row:
 * how many of them went backwards, and what they span. */
static void measure_time(void)
{
    put_word(board_microseconds(board));
    put_word(board_ticks(board));
    for (int i = 0; i < 100; i++) {
        board_idle(board);
    }
    put_word(board_microseconds(board));
    put_word(board_ticks(board));
    uint32_t back = 0;
    const uint32_t first = board_microseconds(board);
    uint32_t before = first;
    for (int i = 0; i < 1000; i++) {
        const uint32_t now = board_microseconds(board);
        back += now - before > 1000000u ? 1u : 0u;
        before = now;
    }
    put_word(back);
    put_word(before - first);
}

/* Three instructions a turn. */
APART static void spin(uint32_t turns)
{
    __asm__ volatile("1: nop\n subs %0, %0, #1\n bne 1b" : "+r"(turns)::"cc");
}

/* The cost of 100 and of 200 turns. */
static void measure_cost(void)
{
    static const uint32_t turns[] = {100, 200};
    for (int i = 0; i < 2; i++) {
        const uint32_t count = turns[i];
        board_step_cost_begin(board);
        spin(count);
        put_word(board_step_cost_end(board));
    }
}

/* 100 kB, whether anybody reads them or not. Then the actuators' line says that it is done. */
static void talk(void)
{
    uint8_t line[100];
    memset(line, 'x', sizeof line);
    for (int i = 0; i < 1000; i++) {
        put(PORT_HOST, line, sizeof line);
    }
    put(PORT_ACTUATOR, "done\n", 5);
}

static void obey(uint8_t letter)
{
    switch (letter) {
    case 'd': zero = divide_by_zero(); break;
    case 'b': zero = read_nowhere(); break;
    case 'u': undefined_instruction(); break;
    case 'j': jump_to_zero(); break;
    case 'k': breakpoint(); break;
    case 'r': zero = recurse(0); break;
    case 'g': zero = recurse_with_floats(0.0f); break;
    case 'o': zero = recurse_while_masked(); break;
    case 'l': zero = large_frame(); break;
    case 'a': fail_assertion(); break;
    case 'i': ask_for_interrupt(); break;
    case 'm': fault_while_masked(); break;
    case 'f': fault_with_floats(); break;
    case 'w': wild_safe_bytes(); break;
    case 'F': board_feed(board); put(PORT_HOST, "F", 1); break;
    case 'H': hang(); break;
    case 'D': hang_deaf(); break;
    case 'S': board_safe_bytes(board, safe, sizeof safe); break;
    case 't': measure_time(); break;
    case 'c': measure_cost(); break;
    case 'T': talk(); break;
    case 'R': SCB_AIRCR = SCB_AIRCR_SYSRESETREQ; break;
    default: put(PORT_HOST, &letter, 1); break;
    }
}

int main(void)
{
    board = board_init();
    say_boot();
    for (;;) {
        uint8_t byte;
        while (board_read_byte(board, PORT_HOST, &byte)) {
            obey(byte);
        }
        /* Each line answers with its own change of every byte. */
        while (board_read_byte(board, PORT_SENSOR, &byte)) {
            byte ^= 0x55u;
            put(PORT_SENSOR, &byte, 1);
        }
        while (board_read_byte(board, PORT_ACTUATOR, &byte)) {
            byte ^= 0xAAu;
            put(PORT_ACTUATOR, &byte, 1);
        }
        board_idle(board);
    }
}
