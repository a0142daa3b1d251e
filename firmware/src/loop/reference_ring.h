/* The reference over the horizon: a ring of normalised points, keyed by sample. */
#ifndef REFERENCE_H
#define REFERENCE_H

#include <stdint.h>

#include "controller_config.h"

#define REFERENCE_SLOTS (HORIZON + 1) /* samples k to k+N */

typedef struct {
    float points[REFERENCE_SLOTS][OUTPUTS];
    uint32_t keys[REFERENCE_SLOTS];
    float before[OUTPUTS]; /* the point before the horizon */
    uint32_t lost;         /* points replaced by their predecessor since reset */
} reference_t;

/* Empty; point stands in for what was before sample k. */
void reference_reset(reference_t *reference, uint32_t k, const float point[OUTPUTS]);

/* The point of sample k. Points outside the window now ... now+N and points that are not finite
   are dropped: they count as lost when their turn comes. */
void reference_put(reference_t *reference, uint32_t now, uint32_t k, const float point[OUTPUTS]);

/* horizon[j] is the point of sample now+j+1. Returns how many points had to be made up. */
uint32_t reference_horizon(reference_t *reference, uint32_t now, float horizon[HORIZON][OUTPUTS]);

#endif
