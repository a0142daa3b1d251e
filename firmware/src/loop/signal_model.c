#include "loop/signal_model.h"

#include <string.h>

#include "solver/number.h"

#if SIGNAL_MODEL

void signal_model_features(const signal_model_t *model, const float outputs[OUTPUTS],
                           const float command[COMMANDS], float features[MODEL_FEATURES])
{
    float *z = features + 1;

    features[0] = 1.0f;
    memcpy(z, outputs, OUTPUTS * sizeof *z);
    memcpy(z + OUTPUTS, command, COMMANDS * sizeof *z);
    for (int j = 0; j < SIGNAL_UNITS; j++) {
        const float *row = model->hidden[j];
        float a = row[MODEL_INPUTS];
        UNROLL for (int c = 0; c < MODEL_INPUTS; c++) {
            a = mac(row[c], z[c], a);
        }
        features[1 + MODEL_INPUTS + j] = a / (1.0f + fabsf(a));
    }
}

float signal_model_expect(const signal_model_t *model, int i,
                          const float features[MODEL_FEATURES])
{
    const float *row = model->weights[i];
    float expected = 0.0f;
    UNROLL for (int c = 0; c < MODEL_FEATURES; c++) {
        expected = mac(row[c], features[c], expected);
    }
    return is_finite(expected) ? expected : 0.0f;
}

/* f = a / (1 + |a|) has the derivative 1 / (1 + |a|)^2 = (1 - |f|)^2. */
void signal_model_unit_slopes(const signal_model_t *model, const float features[MODEL_FEATURES],
                              float slopes[SIGNAL_UNITS][OUTPUTS])
{
    for (int j = 0; j < SIGNAL_UNITS; j++) {
        const float left = 1.0f - fabsf(features[1 + MODEL_INPUTS + j]);
        UNROLL for (int c = 0; c < OUTPUTS; c++) {
            slopes[j][c] = left * left * model->hidden[j][c];
        }
    }
}

void signal_model_slopes(const signal_model_t *model, int i,
                         float unit_slopes[SIGNAL_UNITS][OUTPUTS], float slopes[OUTPUTS])
{
    const float *row = model->weights[i];

    memcpy(slopes, row + 1, OUTPUTS * sizeof *slopes);
    for (int j = 0; j < SIGNAL_UNITS; j++) {
        UNROLL for (int c = 0; c < OUTPUTS; c++) {
            slopes[c] = mac(row[1 + MODEL_INPUTS + j], unit_slopes[j][c], slopes[c]);
        }
    }
}

#else

typedef int signal_model_none_t; /* C has no empty files */

#endif
