/* Offset-free tracking: what the measured position has over the predicted one is estimated as a
 * random walk seen through white noise, and added to all that the model predicts. Its steady-state
 * Kalman gain depends on one number, ratio = variance of a step of the walk / variance of noise:
 *
 *   gain = (sqrt(ratio^2 + 4 ratio) - ratio) / 2      0 without a walk, 1 without noise
 *
 * Where no position is measured the estimate stays where it is. An estimate of the position from
 * the signals alone, if a rig has one, would come in by the same call. */
#ifndef DISTURBANCE_H
#define DISTURBANCE_H

#include <stdbool.h>

#include "controller_config.h"

typedef struct {
    float offset[OUTPUTS]; /* normalised */
} disturbance_t;

float disturbance_gain(float ratio);

/* The position of a sample, and what the model alone has predicted for it. One that is not
 * finite is dropped. */
void disturbance_update(disturbance_t *disturbance, float gain, const float measured[OUTPUTS],
                        const float predicted[OUTPUTS]);

#endif
