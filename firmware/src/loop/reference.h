/* The reference over the horizon: a ring of normalised points, each under the number of its
 * sample.
 *
 * The point of sample k stands in slot k % REFERENCE_SLOTS, and keys[] says whose point a slot
 * holds. With HORIZON = 3 there are four slots; at sample 9 they hold the points of 9 .. 12:
 *
 *     slot      0    1    2    3
 *     keys[]   12    9   10   11 */
#ifndef REFERENCE_RING_H
#define REFERENCE_RING_H

#include <stdint.h>

#include "controller_config.h"

#define REFERENCE_SLOTS (HORIZON + 1) /* samples k .. k + N */

typedef struct {
    float points[REFERENCE_SLOTS][OUTPUTS];
    uint32_t keys[REFERENCE_SLOTS];
    float before[OUTPUTS]; /* the point that was used before the horizon */
    uint32_t lost;         /* points replaced by their predecessor since reset */
} reference_ring_t;

/* Empties the ring; `point` stands in for what was before sample k. */
void reference_ring_reset(reference_ring_t *ring, uint32_t k, const float point[OUTPUTS]);

/* Stores the point of sample k. A point outside the window now .. now + N, or one that is not
 * finite, is dropped: it counts as lost when its turn comes. */
void reference_ring_put(reference_ring_t *ring, uint32_t now, uint32_t k,
                        const float point[OUTPUTS]);

/* horizon[j] becomes the point of sample now + j + 1. Returns how many points had to be made up. */
uint32_t reference_ring_horizon(reference_ring_t *ring, uint32_t now,
                                float horizon[HORIZON][OUTPUTS]);

#endif
