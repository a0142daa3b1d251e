#include "solver/number.h"

/* 0 times NaN or infinity is NaN, and a sum never loses it. */
bool all_finite(const float *values, int size)
{
    float sum = 0.0f;
    _Pragma("GCC unroll 8") for (int i = 0; i < size; ++i) {
        sum = mac(values[i], 0.0f, sum);
    }
    return is_finite(sum);
}
