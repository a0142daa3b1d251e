#include "loop/reference_ring.h"

#include <string.h>

#include "solver/number.h"

static void store(reference_t *reference, uint32_t k, const float point[OUTPUTS])
{
    const uint32_t slot = k % REFERENCE_SLOTS;
    memcpy(reference->points[slot], point, sizeof reference->points[slot]);
    reference->keys[slot] = k;
}

void reference_reset(reference_t *reference, uint32_t k, const float point[OUTPUTS])
{
    reference->lost = 0;
    memcpy(reference->before, point, sizeof reference->before);
    for (int i = 0; i < REFERENCE_SLOTS; i++) {
        reference->keys[i] = k - 1u; /* a sample that is over: never asked for */
    }
}

void reference_put(reference_t *reference, uint32_t now, uint32_t k, const float point[OUTPUTS])
{
    if (k - now <= HORIZON && all_finite(point, OUTPUTS)) {
        store(reference, k, point);
    }
}

uint32_t reference_horizon(reference_t *reference, uint32_t now, float horizon[HORIZON][OUTPUTS])
{
    const float *previous = reference->before;
    uint32_t lost = 0;

    if (reference->keys[now % REFERENCE_SLOTS] == now) {
        previous = reference->points[now % REFERENCE_SLOTS];
    }
    for (int j = 0; j < HORIZON; j++) {
        const uint32_t k = now + 1u + (uint32_t)j;
        if (reference->keys[k % REFERENCE_SLOTS] != k) {
            store(reference, k, previous); /* kept, so that it is counted once */
            lost++;
        }
        previous = reference->points[k % REFERENCE_SLOTS];
        memcpy(horizon[j], previous, sizeof horizon[j]);
    }
    memcpy(reference->before, horizon[0], sizeof reference->before);
    reference->lost += lost;
    return lost;
}
