/* Offset-free tracking: what the position seen has over the predicted one is estimated as a random
 * walk seen through white noise, and added to all that the model predicts. Its steady-state Kalman
 * gain depends on one number, ratio = variance of a step of the walk / variance of the noise:
 *
 *   gain = (sqrt(ratio^2 + 4 ratio) - ratio) / 2      0 without a walk, 1 without noise
 *
 * A position is seen in two ways, with the same walk behind both. A measured one has the noise that
 * settings_t.disturbance_ratio is meant for. Where none has come for a sample, the signals give
 * one: by an n x p map that training fits, whose noise is its residual on recordings held out. So
 *
 *   ratio of the signals = disturbance_ratio * variance of a measured position / residual variance
 *
 * axis by axis; a map that errs much corrects slowly, by itself. Where there is neither, the
 * estimate stays where it is. */
#ifndef DISTURBANCE_H
#define DISTURBANCE_H

#include <stdbool.h>

#include "controller_config.h"

typedef struct {
    float offset[OUTPUTS]; /* normalised */
} disturbance_t;

/* The position of a sample as it is seen, with the ratio of each axis, and what the model alone has
 * predicted for it. One that is not finite is dropped. */
void disturbance_update(disturbance_t *disturbance, const float ratio[OUTPUTS],
                        const float seen[OUTPUTS], const float predicted[OUTPUTS]);

#endif
