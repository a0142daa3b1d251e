#include "number.h"

#include <stdint.h>

/* 0 times NaN or infinity is NaN, and a sum never loses it. That sum is tested on its bits: a
 * compiler may assume comparisons with NaN away. */
bool all_finite(const float *values, int size)
{
    float sum = 0.0f;
    uint32_t bits;
    _Pragma("GCC unroll 8") for (int i = 0; i < size; ++i) {
        sum = mac(values[i], 0.0f, sum);
    }
    memcpy(&bits, &sum, sizeof bits);
    return (bits & 0x7f800000u) != 0x7f800000u;
}
