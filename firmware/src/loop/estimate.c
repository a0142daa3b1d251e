#include "loop/estimate.h"

#include "solver/number.h"

static float gain(float ratio)
{
    return 0.5f * (sqrtf(ratio * (ratio + 4.0f)) - ratio);
}

void disturbance_update(disturbance_t *disturbance, const float ratio[OUTPUTS],
                        const float seen[OUTPUTS], const float predicted[OUTPUTS])
{
    float offset[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++) {
        const float innovation = seen[i] - predicted[i] - disturbance->offset[i];
        offset[i] = disturbance->offset[i] + gain(ratio[i]) * innovation;
    }
    if (all_finite(offset, OUTPUTS)) {
        memcpy(disturbance->offset, offset, sizeof offset);
    }
}
