/* Which signals to believe. Each one is compared with what it should be by the outputs that the
 * network predicts and by the newest command that these have seen (signal_model.h). What is
 * found, and by what:
 *
 *     implausible   not finite, or far outside of what the recordings held: by itself, at once
 *     stuck         the same for longer than noise lets a live signal be: by itself
 *     far           a single sample further from what is expected than any that was recorded
 *     drifted       the mean of these distances, with their sign, is larger than any
 *
 * The last two compare with a model, and where many signals disagree with it, it is the model that
 * is wrong: a load, another gain. So they count only while most of the signals that are neither
 * implausible nor stuck agree; of one or two signals none is found by them.
 *
 * A signal that is not believed counts as what it should be: so it says nothing, neither true nor
 * false, and the network goes on as in a free run.
 *
 * It is believed again when none of this has been seen for `agreeing_samples`. The twin of this
 * file is soft_control/control/sensor_doubt.py. */
#ifndef SENSOR_DOUBT_H
#define SENSOR_DOUBT_H

#include <stdbool.h>
#include <stdint.h>

#include "controller_config.h"
#include "loop/signal_model.h"

typedef struct {
#if SIGNAL_DOUBT
    float per_gate[SIGNALS]; /* 1 / the largest innovation that is not far */
    float slow_max[SIGNALS]; /* of the mean innovation, as a share of that */
    float low[SIGNALS];      /* plausible values */
    float high[SIGNALS];
    uint16_t still_max[SIGNALS]; /* samples in a row that may equal that before them */
#endif
    float slow_gain;
    uint16_t agreeing_samples;
} doubt_config_t;

typedef struct {
    float last[SIGNAL_SLOTS];        /* the signals of the sample before */
    float expected[SIGNAL_SLOTS];    /* what those of this sample should be */
    float slow[SIGNAL_SLOTS];        /* mean innovation, 1 at the largest that is not far */
    uint16_t still[SIGNAL_SLOTS];    /* samples in a row that were equal to that before them */
    uint16_t agreeing[SIGNAL_SLOTS]; /* samples for which there has been no reason for doubt */
    bool doubted[SIGNAL_SLOTS];      /* found, and not believed again */
    uint16_t found;                  /* how often a channel has been found */
} doubt_state_t;

/* All are believed. */
void sensor_doubt_reset(doubt_state_t *state);

#if SIGNAL_DOUBT

/* Sets `doubted` and `expected` for the signals of a sample, by the outputs that the network
 * predicts for it, without any offset, and the newest command that these have seen. */
void sensor_doubt_step(const doubt_config_t *config, const signal_model_t *model,
                       doubt_state_t *state, const float signals[SIGNAL_SLOTS],
                       const float predicted[OUTPUTS], const float command[COMMANDS]);

#endif

#endif
