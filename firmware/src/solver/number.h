/* Arithmetic that every room of the solver uses. */
#ifndef NUMBER_H
#define NUMBER_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Before a loop of at most 32 turns: it is unrolled, and sums in small arrays stay in registers. */
#define UNROLL _Pragma("GCC unroll 32")
#define NOT_UNROLLED _Pragma("GCC unroll 1")

/* a b + c rounded once, the same on every processor: one instruction on the Cortex-M4F. */
static inline float mac(float a, float b, float c)
{
    return fmaf(a, b, c);
}

/* Two floats side by side that one instruction loads into two registers, because to GCC they are
 * a double. No arithmetic is done in double. An array of such pairs is declared PAIRED: it
 * begins at a multiple of 8 bytes. */
#ifdef __GNUC__
#define MAY_ALIAS __attribute__((may_alias))
typedef double MAY_ALIAS two_floats_t;
#define PAIRED __attribute__((aligned(8)))
#else
#define MAY_ALIAS
typedef struct {
    float first, second;
} two_floats_t;
#define PAIRED
#endif
typedef union {
    two_floats_t both;
    float f[2];
} pair_t;

static inline pair_t pair_at(const float *x)
{
    pair_t pair;
    pair.both = *(const two_floats_t *)x;
    return pair;
}

static inline float clamp(float value, float low, float high)
{
    return value < low ? low : value > high ? high : value;
}

static inline int fewer(int a, int b)
{
    return a < b ? a : b;
}

static inline float larger(float a, float b)
{
    return a > b ? a : b;
}

static inline float smaller(float a, float b)
{
    return a < b ? a : b;
}

/* Looks at the bits of the exponent: a compiler may remove a comparison with NaN. */
static inline bool is_finite(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7f800000u) != 0x7f800000u;
}

bool all_finite(const float *values, int size);

#endif
