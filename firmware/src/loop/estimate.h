/* The offset estimate, for tracking without a steady error. The offset is how far the outputs
 * seen are from the predicted ones. It is taken for a random walk that is seen through white
 * noise, and added to all that the network predicts. The steady-state Kalman gain of such a walk
 * depends on one number, ratio = variance of the walk's change in a sample / variance of the
 * noise:
 *
 *     gain = (sqrt(ratio^2 + 4 ratio) - ratio) / 2
 *
 *     ratio  0   0.0026   0.5   1000
 *     gain   0   0.05     0.5   0.999
 *
 * It is of measured outputs; what signals tell is in observer.h. */
#ifndef ESTIMATE_H
#define ESTIMATE_H

#include "controller_config.h"

typedef struct {
    float offset[OUTPUTS]; /* normalised */
} estimate_t;

/* Takes the outputs of a sample as they are seen, and what was predicted for them. Outputs that are
 * not finite change nothing. */
void estimate_update(estimate_t *estimate, float ratio, const float seen[OUTPUTS],
                     const float predicted[OUTPUTS]);

/* A sample in which nothing is seen any more: half of it is left after 0.35 s. */
void estimate_fade(estimate_t *estimate);

#endif
