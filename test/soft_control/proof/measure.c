/* Calls functions of cases.h as file `in` says, and writes to file `out` how many instructions each
 * call took, from the function's first to its return. */
#include "cortex_m4f.h"

#include "cases.h"

static struct {
    uint32_t function;
    int32_t in[INPUTS];
} asked;

static uint32_t __attribute__((noinline)) nothing(const int32_t *in)
{
    __asm__ volatile("");
    (void)in;
    return 0;
}

static uint32_t __attribute__((noinline)) measure(volatile function_t function)
{
    const uint32_t begin = TIM2_CNT;
    (void)function(asked.in);
    return TIM2_CNT - begin;
}

static const function_t known[] = {CASES};

int main(void)
{
    const int from = file_open("in", READ_BINARY);
    const int to = file_open("out", WRITE_BINARY);
    const uint32_t call = measure(nothing) - 2u; /* `nothing` is a move and a return */

    while (file_read(from, &asked, sizeof asked)) {
        const uint32_t took = measure(known[asked.function]) - call;
        file_write(to, &took, sizeof took);
    }
    return 0;
}
