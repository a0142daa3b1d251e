/* Which signals to believe. Each one is compared with what it should be by the outputs that the
 * network predicts and by the newest command that these have seen (signal_model.h). What is
 * found, and by what:
 *
 *     implausible   not finite, or far outside of what the recordings held: by itself, at once
 *     stuck         the same for longer than noise lets a live signal be: by itself
 *     far           a single sample further from what is expected than any that was recorded
 *     drifted       what the other signals do not explain of these distances adds up
 *
 * A network that is off, or a pose that the outputs do not tell, moves many signals in a way that
 * the recordings have shown; a drift moves one. So of a distance x that is subtracted which the
 * others let expect, and the rest adds up in two sums (Page, Continuous inspection schemes,
 * Biometrika 1954), in which nothing stays of what is smaller than `slack`:
 *
 *     rest = x - others * x
 *     up = max(0, up + rest - slack)     down = max(0, down - rest - slack)
 *
 * While one signal lies it spoils the rests of the others: only the one with the largest sum is
 * found, a signal that is not believed counts as what the others let expect, and the sums of the
 * others begin anew when one has been found.
 *
 * Far and drifted compare with a model, and where many signals disagree with it, it is the model
 * that is wrong: a load, another gain, more creep. So they count only while most of the signals
 * that are neither implausible nor stuck have agreed for `settled_samples`, and what was found by
 * them is believed again when that ends; of one or two signals none is found by them.
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
    float others[SIGNALS][SIGNALS]; /* innovation that those of the others let expect; 1 at the
                                     * gate, 0 of the signal itself */
    float slack[SIGNALS];           /* rest that does not add up, 1 at the gate */
    float per_sum[SIGNALS];         /* 1 / the largest sum that is no drift */
    float low[SIGNALS];      /* plausible values */
    float high[SIGNALS];
    uint16_t still_max[SIGNALS]; /* samples in a row that may equal that before them */
#endif
    uint16_t agreeing_samples;
    uint16_t settled_samples;
} doubt_config_t;

typedef struct {
    float last[SIGNAL_SLOTS];        /* the signals of the sample before */
    float expected[SIGNAL_SLOTS];    /* what those of this sample should be */
    float up[SIGNAL_SLOTS];          /* sums of the rests, 1 at the largest that is no drift */
    float down[SIGNAL_SLOTS];
    uint16_t still[SIGNAL_SLOTS];    /* samples in a row that were equal to that before them */
    uint16_t agreeing[SIGNAL_SLOTS]; /* samples for which there has been no reason for doubt */
    uint16_t at_odds[SIGNAL_SLOTS];  /* samples until a disagreement with the model is forgotten */
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
