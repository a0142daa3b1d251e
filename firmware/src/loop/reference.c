#include "loop/reference_ring.h"

#include <string.h>

#include "solver/number.h"

static void store(reference_ring_t *ring, uint32_t k, const float point[OUTPUTS])
{
    const uint32_t slot = k % REFERENCE_SLOTS;
    memcpy(ring->points[slot], point, sizeof ring->points[slot]);
    ring->keys[slot] = k;
}

void reference_ring_reset(reference_ring_t *ring, uint32_t k, const float point[OUTPUTS])
{
    ring->lost = 0;
    memcpy(ring->before, point, sizeof ring->before);
    for (int i = 0; i < REFERENCE_SLOTS; i++) {
        ring->keys[i] = k - 1u; /* no sample of the window: its point is missing */
    }
}

void reference_ring_put(reference_ring_t *ring, uint32_t now, uint32_t k,
                        const float point[OUTPUTS])
{
    if (k - now <= HORIZON && all_finite(point, OUTPUTS)) {
        store(ring, k, point);
    }
}

uint32_t reference_ring_horizon(reference_ring_t *ring, uint32_t now,
                                float horizon[HORIZON][OUTPUTS])
{
    const float *previous = ring->before;
    uint32_t lost = 0;

    if (ring->keys[now % REFERENCE_SLOTS] == now) {
        previous = ring->points[now % REFERENCE_SLOTS];
    }
    for (int j = 0; j < HORIZON; j++) {
        const uint32_t k = now + 1u + (uint32_t)j;
        if (ring->keys[k % REFERENCE_SLOTS] != k) {
            store(ring, k, previous); /* kept, so that it counts as lost only once */
            lost++;
        }
        previous = ring->points[k % REFERENCE_SLOTS];
        memcpy(horizon[j], previous, sizeof horizon[j]);
    }
    memcpy(ring->before, horizon[0], sizeof ring->before);
    ring->lost += lost;
    return lost;
}
