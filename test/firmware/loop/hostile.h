/* Numbers that a sensor may bring: of a small range, far off, the same again, and any bits. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <stdint.h>
#include <string.h>

static uint32_t state = 2463534242u;

static uint32_t random_bits(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static float uniform(float low, float high)
{
    return low + (high - low) * (float)(random_bits() >> 8) * (1.0f / 16777216.0f);
}

/* Any bits: all numbers, infinities and NaN of every kind. */
static float any_float(void)
{
    const uint32_t bits = random_bits();
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void fill(float *values, int size, uint32_t kind)
{
    for (int i = 0; i < size; i++) {
        values[i] = kind == 0u   ? any_float()
                    : kind == 1u ? uniform(-1e3f, 1e3f)
                    : kind == 2u ? values[i] /* stands still */
                                 : uniform(-1.0f, 1.0f);
    }
}

#endif
