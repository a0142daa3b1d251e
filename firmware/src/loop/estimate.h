/* The offset estimate, for tracking without a steady error. The offset is how far the position
 * seen is from the predicted one. It is taken for a random walk that is seen through white
 * noise, and added to all that the network predicts. The steady-state Kalman gain of such a walk
 * depends on one number, ratio = variance of the walk's change in a sample / variance of the
 * noise:
 *
 *     gain = (sqrt(ratio^2 + 4 ratio) - ratio) / 2
 *
 *     ratio  0   0.0026   0.5   1000
 *     gain   0   0.05     0.5   0.999
 *
 * A position is seen in two ways, with the same walk behind both. A measured position has the
 * noise that settings_t.disturbance_ratio is meant for. Where none has come for a sample, the
 * signals give a position by a linear map that training fits; its noise is the residual of that
 * map on recordings held out. Axis by axis,
 *
 *     ratio of the signals = disturbance_ratio * variance of a measured position / residual's,
 *
 * so that a map which errs much corrects slowly. Where there is neither, the estimate stays. */
#ifndef ESTIMATE_H
#define ESTIMATE_H

#include "controller_config.h"

typedef struct {
    float offset[OUTPUTS]; /* normalised */
} estimate_t;

/* Takes the position of a sample as it is seen, with the ratio of each axis, and what the
 * network alone has predicted for it. A position that is not finite changes nothing. */
void estimate_update(estimate_t *estimate, const float ratio[OUTPUTS], const float seen[OUTPUTS],
                     const float predicted[OUTPUTS]);

#endif
