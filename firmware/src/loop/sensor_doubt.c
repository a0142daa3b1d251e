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

#define SUM_MAX 2.0f /* of a sum: what has lied for long is forgiven as soon as what has just */

/* What a sample says of one channel. */
typedef struct {
    bool implausible, stuck, far, drifted;
} evidence_t;

/* All but `drifted`, and the innovation, 1 at the gate and not beyond. */
static evidence_t look(const doubt_config_t *config, const signal_model_t *model,
                       doubt_state_t *state, int i, float signal,
                       const float features[MODEL_FEATURES], float *innovation)
{
    const bool same = signal >= state->last[i] && signal <= state->last[i];
    evidence_t seen = {.drifted = false};

    state->expected[i] = signal_model_expect(model, i, features);
    seen.implausible = !is_finite(signal) || signal < config->low[i] || signal > config->high[i];
    /* An implausible value says nothing of how far the others were off. */
    const float off =
        seen.implausible ? 0.0f : (signal - state->expected[i]) * config->per_gate[i];
    state->still[i] = (uint16_t)(same ? state->still[i] + (state->still[i] < UINT16_MAX) : 0);
    state->last[i] = is_finite(signal) ? signal : NAN;
    seen.stuck = state->still[i] > config->still_max[i];
    seen.far = fabsf(off) > 1.0f;
    *innovation = clamp(off, -1.0f, 1.0f);
    return seen;
}

/* The innovation that those of the others let expect of signal i. */
static float explained(const doubt_config_t *config, int i, const float innovation[SIGNALS])
{
    float sum = 0.0f;
    UNROLL for (int j = 0; j < SIGNALS; j++) {
        sum = mac(config->others[i][j], innovation[j], sum);
    }
    return sum;
}

/* Adds up what the others do not explain; those that are not believed explain nothing. */
static void add_up(const doubt_config_t *config, doubt_state_t *state,
                   const float innovation[SIGNALS], evidence_t seen[SIGNALS])
{
    float told[SIGNALS], counts[SIGNALS];

    for (int i = 0; i < SIGNALS; i++) {
        told[i] = state->doubted[i] || seen[i].implausible ? 0.0f : innovation[i];
    }
    for (int i = 0; i < SIGNALS; i++) {
        const bool left_out = state->doubted[i] || seen[i].implausible;
        counts[i] = left_out ? explained(config, i, told) : innovation[i];
    }
    for (int i = 0; i < SIGNALS; i++) {
        const float rest = innovation[i] - explained(config, i, counts);
        const float per = config->per_sum[i], slack = config->slack[i];
        state->up[i] = clamp(mac(rest - slack, per, state->up[i]), 0.0f, SUM_MAX);
        state->down[i] = clamp(mac(-rest - slack, per, state->down[i]), 0.0f, SUM_MAX);
        seen[i].drifted = state->up[i] > 1.0f || state->down[i] > 1.0f;
    }
}

/* Of the signals that are believed, the one with the largest sum. */
static int most_drifted(const doubt_state_t *state)
{
    int most = 0;
    float largest = -1.0f;

    for (int i = 0; i < SIGNALS; i++) {
        const float sum = state->up[i] > state->down[i] ? state->up[i] : state->down[i];
        if (!state->doubted[i] && sum > largest) {
            largest = sum;
            most = i;
        }
    }
    return most;
}

/* Whether most of the signals that are sane by themselves agree with the model. */
static bool model_holds(const doubt_config_t *config, doubt_state_t *state,
                        const evidence_t seen[SIGNALS])
{
    int sane = 0, disagree = 0;

    for (int i = 0; i < SIGNALS; i++) {
        if (seen[i].far || seen[i].drifted) {
            state->at_odds[i] = config->settled_samples;
        } else if (state->at_odds[i] > 0u) {
            state->at_odds[i]--;
        }
        if (!seen[i].implausible && !seen[i].stuck) {
            sane++;
            disagree += state->at_odds[i] > 0u;
        }
    }
    return 2 * disagree < sane;
}

/* Whether a channel is doubted from here on; true: it has just been found. */
static bool judge(const doubt_config_t *config, doubt_state_t *state, int i,
                  const evidence_t *seen, bool model_holds, bool most)
{
    const bool insane = seen->implausible || seen->stuck;
    const bool found = insane || ((seen->far || (seen->drifted && most)) && model_holds);
    const bool before = state->doubted[i];

    if (insane || seen->far || seen->drifted) {
        state->agreeing[i] = 0;
    } else if (state->agreeing[i] < config->agreeing_samples) {
        state->agreeing[i]++;
    }
    const bool agreed = state->agreeing[i] >= config->agreeing_samples;
    const bool forgiven = agreed || (!model_holds && !seen->far);
    state->doubted[i] = found || (before && !forgiven);
    state->found = (uint16_t)(state->found + (found && !before));
    return found && !before;
}

/* What adds up while a signal lies says nothing of the others. */
static void begin_anew(doubt_state_t *state)
{
    for (int i = 0; i < SIGNALS; i++) {
        if (!state->doubted[i]) {
            state->up[i] = 0.0f;
            state->down[i] = 0.0f;
        }
    }
}

void sensor_doubt_step(const doubt_config_t *config, const signal_model_t *model,
                       doubt_state_t *state, const float signals[SIGNAL_SLOTS],
                       const float predicted[OUTPUTS], const float command[COMMANDS])
{
    float features[MODEL_FEATURES];
    float innovation[SIGNALS];
    evidence_t seen[SIGNALS];
    bool any = false;

    signal_model_features(model, predicted, command, features);
    for (int i = 0; i < SIGNALS; i++) {
        seen[i] = look(config, model, state, i, signals[i], features, &innovation[i]);
    }
    add_up(config, state, innovation, seen);
    const int most = most_drifted(state);
    const bool holds = model_holds(config, state, seen);
    for (int i = 0; i < SIGNALS; i++) {
        any = judge(config, state, i, &seen[i], holds, i == most) || any;
    }
    if (any) {
        begin_anew(state);
    }
}

#endif
