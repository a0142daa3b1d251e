#include "loop/sensor_doubt.h"

#include <string.h>

#include "solver/number.h"

void sensor_doubt_reset(doubt_state_t *state)
{
    memset(state, 0, sizeof *state);
    for (int i = 0; i < SIGNAL_SLOTS; i++) {
        state->last[i] = NAN; /* equals nothing */
    }
}

#if SIGNAL_DOUBT

/* What a sample says of one channel. */
typedef struct {
    bool implausible, stuck, far, drifted, agrees;
} evidence_t;

static evidence_t look(const doubt_config_t *config, const signal_model_t *model,
                       doubt_state_t *state, int i, float signal,
                       const float features[MODEL_FEATURES])
{
    const bool same = signal >= state->last[i] && signal <= state->last[i];
    evidence_t seen;

    state->expected[i] = signal_model_expect(model, i, features);
    seen.implausible = !is_finite(signal) || signal < config->low[i] || signal > config->high[i];
    /* An implausible value says nothing of how far the others were off. */
    const float off = seen.implausible ? 0.0f : signal - state->expected[i];
    const float innovation = off * config->per_gate[i]; /* 1 at the gate */
    state->still[i] = (uint16_t)(same ? state->still[i] + (state->still[i] < UINT16_MAX) : 0);
    state->last[i] = is_finite(signal) ? signal : NAN;
    state->slow[i] = mac(config->slow_gain,
                         clamp(innovation, -1.0f, 1.0f) - state->slow[i],
                         state->slow[i]);
    seen.stuck = state->still[i] > config->still_max[i];
    seen.far = fabsf(innovation) > 1.0f;
    seen.drifted = fabsf(state->slow[i]) > config->slow_max[i];
    seen.agrees = !seen.implausible && !seen.stuck && !seen.far && !seen.drifted;
    return seen;
}

/* Whether a channel is doubted from here on. */
static void judge(const doubt_config_t *config, doubt_state_t *state, int i,
                  const evidence_t *seen, bool one_against_many)
{
    const bool found = seen->implausible || seen->stuck
                       || ((seen->far || seen->drifted) && one_against_many);

    if (!seen->agrees) {
        state->agreeing[i] = 0;
    } else if (state->agreeing[i] < config->agreeing_samples) {
        state->agreeing[i]++;
    }
    if (state->agreeing[i] >= config->agreeing_samples) {
        state->doubted[i] = false;
    }
    state->found = (uint16_t)(state->found + (found && !state->doubted[i]));
    state->doubted[i] = state->doubted[i] || found;
}

void sensor_doubt_step(const doubt_config_t *config, const signal_model_t *model,
                       doubt_state_t *state, const float signals[SIGNAL_SLOTS],
                       const float predicted[OUTPUTS], const float command[COMMANDS])
{
    float features[MODEL_FEATURES];
    evidence_t seen[SIGNALS];
    int sane = 0, disagree = 0;

    signal_model_features(model, predicted, command, features);
    for (int i = 0; i < SIGNALS; i++) {
        seen[i] = look(config, model, state, i, signals[i], features);
        if (!seen[i].implausible && !seen[i].stuck) {
            sane++;
            disagree += seen[i].far || seen[i].drifted;
        }
    }
    for (int i = 0; i < SIGNALS; i++) {
        judge(config, state, i, &seen[i], 2 * disagree < sane);
    }
}

#endif
