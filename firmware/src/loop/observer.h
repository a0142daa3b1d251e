/* How far the robot is from the outputs that the network predicts, by what the signals say: an
 * extended Kalman filter beside the network's free run. The network's error e is taken for a
 * process that forgets, and the signals show it by the model of signal_model.h:
 *
 *     e(k+1) = keep e(k) + w        variance of w = (1 - keep^2) spread
 *     s      = h(y + e, u) + v      variance of v = noise
 *
 * so that it has the covariance `spread` where nothing is seen: that of the errors of free runs on
 * recordings held out, which `softctl train` measures, as it does how long these last. A noise that
 * lasts counts by its sum over time: a map that is wrong in one place goes on being wrong there.
 *
 * Signals are taken one after another, their noises being independent. Not taken is one that is
 * not believed, and one whose innovation is beyond GATE of its standard deviations.
 *
 * The covariance stays bounded whatever comes: without signals it goes towards `spread`, and each
 * signal makes it smaller. The twin of this file is soft_control/control/observer.py. */
#ifndef OBSERVER_H
#define OBSERVER_H

#include <stdbool.h>

#include "controller_config.h"
#include "loop/signal_model.h"

#define OBSERVER_GATE 4.0f

#if OBSERVER

typedef struct {
    float keep;                     /* share of the error that is left after a sample */
    float renewed[OUTPUTS][OUTPUTS]; /* (1 - keep^2) spread */
    float noise[SIGNALS];           /* variances */
} observer_config_t;

#endif

typedef struct {
    float error[OUTPUTS]; /* of the network's outputs, normalised */
    float covariance[OUTPUTS][OUTPUTS];
} observer_t;

/* The network is right, and surely so: the robot rests where it says. */
void observer_reset(observer_t *observer);

#if OBSERVER

/* Takes the signals of a sample, the outputs that the network predicts for it, without any offset,
 * and the newest command that these have seen. */
void observer_step(const observer_config_t *config, const signal_model_t *model,
                   observer_t *observer, const bool doubted[SIGNAL_SLOTS],
                   const float signals[SIGNAL_SLOTS], const float predicted[OUTPUTS],
                   const float command[COMMANDS]);

#endif

#endif
