/* Functions whose longest way is known: measure.c calls each with inputs that make it go that way. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "cases.h"
#include "solver/loop_bound.h"

uint32_t fixed(const int32_t *in)
{
    uint32_t sum = 0;
    for (int i = 0; i < 10; i++) {
        sum = sum * 31u + (uint32_t)in[i];
    }
    return sum;
}

/* More turns than an unknown end would be given. */
uint32_t many(const int32_t *in)
{
    uint32_t sum = 0;
    for (int i = 0; i < 1000; i++) {
        sum = sum * 31u + (uint32_t)in[i & 7];
    }
    return sum;
}

/* 1 + 2 + .. + 8 turns of the inner loop, not 64. */
uint32_t triangle(const int32_t *in)
{
    uint32_t sum = 0;
    for (int i = 0; i < 8; i++) {
        for (int j = 0; j <= i; j++) {
            sum = sum * 31u + (uint32_t)in[j];
        }
    }
    return sum;
}

/* A table of jumps, whose fourth case is the longest. */
uint32_t table(const int32_t *in)
{
    uint32_t sum = (uint32_t)in[1];
    switch (in[0]) {
    case 0: return sum * 3u;
    case 1: return sum / 7u + 1u;
    case 2: return sum ^ 0x55u;
    case 3:
        for (int i = 0; i < 12; i++) {
            sum = sum * 31u + (uint32_t)in[i & 7];
        }
        return sum;
    case 4: return ~sum;
    case 5: return sum << 3;
    case 6: return sum - 11u;
    default: return 0;
    }
}

/* Left as soon as something is found; the longest way finds nothing. */
uint32_t early(const int32_t *in)
{
    for (uint32_t i = 0; i < 12u; i++) {
        if (in[i] == 77) {
            return i;
        }
    }
    return 99;
}

static uint32_t __attribute__((noinline)) part(const int32_t *in, int count)
{
    uint32_t sum = 0;
    for (int i = 0; i < count; i++) {
        sum = sum * 31u + (uint32_t)in[i];
    }
    return sum;
}

/* Each call has its own count of turns. */
uint32_t calls(const int32_t *in)
{
    return part(in, 3) + part(in + 3, 9);
}

/* Of two ways that exclude each other one counts. */
uint32_t exclusive(const int32_t *in)
{
    return in[0] > 0 ? part(in, 4) : part(in, 11);
}

/* The end depends on data: only the note says that it is at most 9. */
uint32_t noted(const int32_t *in)
{
    uint32_t sum = 0;
    for (int32_t left = in[0]; left > 0; left--) {
        LOOP_BOUND(9);
        sum = sum * 31u + (uint32_t)in[left];
    }
    return sum;
}

uint32_t copies(const int32_t *in)
{
    int32_t mine[11];
    memcpy(mine, in, sizeof mine);
    return part(mine, 11);
}

static uint32_t one(const int32_t *in) { return (uint32_t)in[1]; }
static uint32_t two(const int32_t *in) { return part(in, 7); }
static uint32_t three(const int32_t *in) { return part(in, 2); }
static uint32_t (*const functions[4])(const int32_t *) = {one, two, three, one};

/* The pointer is one of four constants. */
uint32_t pointed(const int32_t *in)
{
    return functions[(uint32_t)in[0] & 3u](in);
}

/* Of the C library: no loops, but ways that depend on the number. */
uint32_t library(const int32_t *in)
{
    return (uint32_t)(1000.0f * expf((float)in[0] * 0.01f));
}

/* ------------------------------------------------------------------ what must be refused */

uint32_t endless(const int32_t *in)
{
    uint32_t sum = 0;
    for (uint32_t left = (uint32_t)in[0]; left != 0u; left = (uint32_t)in[left & 7u]) {
        sum += left;
    }
    return sum;
}

uint32_t __attribute__((noinline)) again(const int32_t *in)
{
    return in[0] == 0 ? 1u : 3u * again(in + 1) + again(in + 2);
}

uint32_t (*volatile anybody)(const int32_t *) = one;

uint32_t unknown(const int32_t *in)
{
    return anybody(in) + 1u;
}

/* A place that never changes here, as far as anybody knows. */
uint32_t waiting(const int32_t *in)
{
    const volatile int32_t *place = in;
    uint32_t turns = 0;
    while (*place == 0) {
        turns++;
    }
    return turns;
}
