#include "solver/number.h"

/* Each value times 0 is added up: NaN and infinity times 0 are NaN, and so is every sum with
 * one. */
bool all_finite(const float *values, int size)
{
    float sum = 0.0f;
    _Pragma("GCC unroll 8") for (int i = 0; i < size; ++i) {
        sum = mac(values[i], 0.0f, sum);
    }
    return is_finite(sum);
}
