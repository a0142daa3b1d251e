#include "loop/observer.h"

#include <string.h>

#include "solver/number.h"

void observer_reset(observer_t *observer)
{
    memset(observer, 0, sizeof *observer);
}

#if OBSERVER

/* A sample has passed. */
static void forget(const observer_config_t *config, observer_t *observer)
{
    const float kept = config->keep * config->keep;

    for (int i = 0; i < OUTPUTS; i++) {
        observer->error[i] *= config->keep;
        UNROLL for (int j = 0; j < OUTPUTS; j++) {
            observer->covariance[i][j] =
                mac(kept, observer->covariance[i][j], config->renewed[i][j]);
        }
    }
}

/* One signal: `innovation` by the error as it is, and how the signal follows from it. */
static void take(observer_t *observer, float innovation, float noise, const float slopes[OUTPUTS])
{
    float seen[OUTPUTS]; /* covariance * slopes */
    float variance = noise;

    for (int i = 0; i < OUTPUTS; i++) {
        seen[i] = 0.0f;
        UNROLL for (int j = 0; j < OUTPUTS; j++) {
            seen[i] = mac(observer->covariance[i][j], slopes[j], seen[i]);
        }
        variance = mac(slopes[i], seen[i], variance);
    }
    /* Nor is one taken that is no number: then this is false. */
    if (!(innovation * innovation <= OBSERVER_GATE * OBSERVER_GATE * variance)) {
        return;
    }
    const float share = 1.0f / variance;
    for (int i = 0; i < OUTPUTS; i++) {
        const float gain = share * seen[i];
        observer->error[i] = mac(gain, innovation, observer->error[i]);
        UNROLL for (int j = 0; j < OUTPUTS; j++) {
            observer->covariance[i][j] = mac(-gain, seen[j], observer->covariance[i][j]);
        }
        if (observer->covariance[i][i] < 0.0f) {
            observer->covariance[i][i] = 0.0f; /* by rounding */
        }
    }
}

void observer_step(const observer_config_t *config, const signal_model_t *model,
                   observer_t *observer, const bool doubted[SIGNAL_SLOTS],
                   const float signals[SIGNAL_SLOTS], const float predicted[OUTPUTS],
                   const float command[COMMANDS])
{
    float outputs[OUTPUTS];
    float features[MODEL_FEATURES];
    float unit_slopes[SIGNAL_UNITS][OUTPUTS];
    float before[OUTPUTS];

    forget(config, observer);
    memcpy(before, observer->error, sizeof before);
    for (int i = 0; i < OUTPUTS; i++) {
        outputs[i] = predicted[i] + before[i];
    }
    signal_model_features(model, outputs, command, features);
    signal_model_unit_slopes(model, features, unit_slopes);
    for (int i = 0; i < SIGNALS; i++) {
        float slopes[OUTPUTS];
        float innovation = signals[i] - signal_model_expect(model, i, features);
        if (doubted[i]) {
            continue;
        }
        signal_model_slopes(model, i, unit_slopes, slopes);
        /* The signals before it have moved the error since h was linearised. */
        UNROLL for (int j = 0; j < OUTPUTS; j++) {
            innovation = mac(slopes[j], before[j] - observer->error[j], innovation);
        }
        take(observer, innovation, config->noise[i], slopes);
    }
}

#endif
