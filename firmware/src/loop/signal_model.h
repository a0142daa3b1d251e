/* What the signals should be by the outputs and by the newest command that these have seen. All is
 * normalised, z = [y, u]:
 *
 *     expected = weights * [1, z, a / (1 + |a|)]      a = hidden * [z, 1]
 *
 * The signals are not predicted from each other: of these, several may lie at once. */
#ifndef SIGNAL_MODEL_H
#define SIGNAL_MODEL_H

#include "controller_config.h"

#define MODEL_INPUTS (OUTPUTS + COMMANDS)
#define MODEL_FEATURES (1 + MODEL_INPUTS + SIGNAL_UNITS)

#if SIGNAL_MODEL

typedef struct {
    float hidden[SIGNAL_UNITS][MODEL_INPUTS + 1];
    float weights[SIGNALS][MODEL_FEATURES];
} signal_model_t;

/* What all signals are expected by. */
void signal_model_features(const signal_model_t *model, const float outputs[OUTPUTS],
                           const float command[COMMANDS], float features[MODEL_FEATURES]);

/* What signal i should be; 0, its mean, where that is no number. */
float signal_model_expect(const signal_model_t *model, int i,
                          const float features[MODEL_FEATURES]);

/* The derivatives of the units by the outputs, at `features`, */
void signal_model_unit_slopes(const signal_model_t *model, const float features[MODEL_FEATURES],
                              float slopes[SIGNAL_UNITS][OUTPUTS]);

/* and with them those of signal i. */
void signal_model_slopes(const signal_model_t *model, int i,
                         float unit_slopes[SIGNAL_UNITS][OUTPUTS], float slopes[OUTPUTS]);

#endif

#endif
