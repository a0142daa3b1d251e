#include "disturbance.h"

#include "number.h"

float disturbance_gain(float ratio)
{
    return 0.5f * (sqrtf(ratio * (ratio + 4.0f)) - ratio);
}

void disturbance_update(disturbance_t *disturbance, float gain, const float measured[OUTPUTS],
                        const float predicted[OUTPUTS])
{
    float offset[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++) {
        const float innovation = measured[i] - predicted[i] - disturbance->offset[i];
        offset[i] = disturbance->offset[i] + gain * innovation;
    }
    if (all_finite(offset, OUTPUTS)) {
        memcpy(disturbance->offset, offset, sizeof offset);
    }
}
