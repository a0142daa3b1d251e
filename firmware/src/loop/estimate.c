#include "loop/estimate.h"

#include "solver/number.h"

#define FADE_S 0.5f

/* The formula of estimate.h. The difference loses a digit for every power of ten of the ratio: at
 * DISTURBANCE_RATIO_MAX, which settings_valid lets through, four are left; from 3.4e7 on none. */
static float gain(float ratio)
{
    return 0.5f * (sqrtf(ratio * (ratio + 4.0f)) - ratio);
}

void estimate_update(estimate_t *estimate, float ratio, const float seen[OUTPUTS],
                     const float predicted[OUTPUTS])
{
    const float share = gain(ratio);
    float offset[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++) {
        const float innovation = seen[i] - predicted[i] - estimate->offset[i];
        offset[i] = estimate->offset[i] + share * innovation;
    }
    if (all_finite(offset, OUTPUTS)) {
        memcpy(estimate->offset, offset, sizeof offset);
    }
}

void estimate_fade(estimate_t *estimate)
{
    for (int i = 0; i < OUTPUTS; i++) {
        estimate->offset[i] *= 1.0f - 1.0f / (FADE_S * CONTROL_RATE_HZ);
    }
}
