/* The generated network fk over a horizon. Its flat input is [command lags, output lags,
 * signals, memory], lags with the newest first. What stays the same from stage to stage is
 * computed once: the share of the first layer that signals and memory have (FK_FOLDED). */
#ifndef NETWORK_H
#define NETWORK_H

#include "solver/number.h"
#include "solver/problem.h"

#define COMMAND_INPUTS (INPUT_LAGS * COMMANDS)
#define OUTPUT_INPUTS (OUTPUT_LAGS * OUTPUTS)

#ifdef FK_STATES
#define NETWORK_STATES FK_STATES
#define NETWORK_STATE &network->state,
#else
#define NETWORK_STATES 0
#define NETWORK_STATE
#endif

/* How a plan's outputs move by its commands comes from one of two functions of fk: fk_jacobian, for
 * networks that are small or have no state, or fk_push, which moves many directions through the
 * network at once and never makes the Jacobian of its state. */
#ifdef FK_PUSH_STRIDE
#define PUSHES 1
#if FK_PUSH_DIRECTIONS < CONTROL_HORIZON * COMMANDS
#error "fk_push takes fewer directions than there are planned commands"
#endif
#else
#define PUSHES 0
#endif

/* The Jacobian has a row for each output and each state. Its columns are the command lags, the
 * output lags, the states and, if fk was compiled with them, one more column for each command:
 * the sum of its lags, which is the derivative where all these lags are one held command. Two
 * commands a and b with two lags, one output y with two lags, no states:
 *
 *     u_a(0) u_b(0) u_a(1) u_b(1) | y(0) y(1) | sum of u_a  sum of u_b */
#define JACOBIAN_COLUMNS FK_JACOBIAN_COLUMNS
#define JACOBIAN_ROWS (OUTPUTS + NETWORK_STATES)
#define LAG_SUMS (COMMAND_INPUTS + OUTPUT_INPUTS + NETWORK_STATES)

#if FK_INPUTS != COMMAND_INPUTS + OUTPUT_INPUTS + SIGNALS + MEMORIES \
    || FK_OUTPUTS != OUTPUTS
#error "fk does not have the inputs and outputs that controller_config.h describes"
#endif
#if PUSHES
#define HAS_LAG_SUMS 0
#elif JACOBIAN_COLUMNS == LAG_SUMS + COMMANDS
#define HAS_LAG_SUMS 1
#elif JACOBIAN_COLUMNS == LAG_SUMS
#define HAS_LAG_SUMS 0
#else
#error "fk_jacobian must have the columns of all command lags, output lags and states"
#endif

/* Parts of the input. They are copied as structs and not by memcpy: the compiler then knows that
 * they are aligned. */
typedef struct MAY_ALIAS {
    float values[SIGNALS > 0 ? SIGNALS : 1];
} signals_t;
#if MEMORIES > 0
typedef struct MAY_ALIAS {
    float values[MEMORIES];
} memory_t;
#endif
typedef struct MAY_ALIAS {
    float values[COMMAND_INPUTS];
} command_lags_t;
#if OUTPUT_LAGS > 0
typedef struct MAY_ALIAS {
    float values[OUTPUT_INPUTS];
} output_lags_t;
#endif

typedef struct {
    float x[FK_INPUTS];
#ifdef FK_FOLDED
    float folded[FK_FOLDED]; /* what the first layer has of signals and memory */
#endif
#ifdef FK_STATES
    fk_state state;
    fk_state start; /* state before the first stage that a plan changes */
#endif
} network_t;

/* Back to the state before the first stage that a plan changes. */
static inline void network_rewind(network_t *network)
{
#ifdef FK_STATES
    network->state = network->start;
#else
    (void)network;
#endif
}

/* Takes signals, memory and the network's own state of sample k. */
static inline void network_begin(network_t *network, const mpc_state_t *state)
{
    if (SIGNALS > 0) {
        float *signals = network->x + COMMAND_INPUTS + OUTPUT_INPUTS;
        *(signals_t *)signals = *(const signals_t *)state->signals;
    }
#if MEMORIES > 0
    *(memory_t *)(network->x + FK_INPUTS - MEMORIES) = *(const memory_t *)state->memory;
#endif
#ifdef FK_FOLDED
    fk_fold(network->x, network->folded);
#endif
#ifdef FK_STATES
    network->state = state->network;
#endif
}

/* Sets the lags; `commands` and `outputs` point to the newest one, older ones stand behind it. */
static inline void network_lags(network_t *network, const float *commands, const float *outputs)
{
    *(command_lags_t *)network->x = *(const command_lags_t *)commands;
#if OUTPUT_LAGS > 0
    *(output_lags_t *)(network->x + COMMAND_INPUTS) = *(const output_lags_t *)outputs;
#else
    (void)outputs;
#endif
}

/* y after the inputs as they are set; the network's own state moves on. */
static inline void network_predict(network_t *network, float y[OUTPUTS])
{
#ifdef FK_FOLDED
    fk_step_folded(NETWORK_STATE network->folded, network->x, y);
#else
    fk_step(NETWORK_STATE network->x, y);
#endif
}

#if PUSHES
/* As network_predict, and how y and the state move along `directions` directions, of which the
 * first `carried` move the state before. Rows of the network's inputs, outputs and states. At the
 * `last` stage nobody needs how the state moves on. */
static inline void network_push(network_t *network, float y[OUTPUTS], const float *by_inputs,
                                const float *by_state, float *outputs, float *state,
                                int directions, int carried, bool last)
{
#ifdef FK_PUSH_LAST
    if (last) {
        fk_push_last(&network->state, network->x, y, by_inputs, by_state, outputs, directions,
                     carried);
        return;
    }
#else
    (void)last;
#endif
#ifdef FK_STATES
    fk_push(&network->state, network->x, y, by_inputs, by_state, outputs, state, directions,
            carried);
#else
    (void)by_state;
    (void)state;
    (void)carried;
    fk_push(network->x, y, by_inputs, outputs, directions);
#endif
}
#else
/* As network_predict, with the columns `first` .. `past` - 1 of the Jacobian. Its other columns
 * may keep what was in them. */
static inline void network_jacobian(network_t *network, float y[OUTPUTS],
                                    float jacobian[JACOBIAN_ROWS * JACOBIAN_COLUMNS], int first,
                                    int past)
{
#ifdef FK_JACOBIAN_RANGE
#define RANGE , first, past
#else
#define RANGE
    (void)first;
    (void)past;
#endif
#ifdef FK_FOLDED
    fk_jacobian_folded(NETWORK_STATE network->folded, network->x, y, jacobian RANGE);
#else
    fk_jacobian(NETWORK_STATE network->x, y, jacobian RANGE);
#endif
#undef RANGE
}
#endif

/* Moves the network's own state on to the next stage. Lags are set anew at each stage, so a
 * network without a state has nothing to move. */
static inline void network_next(network_t *network)
{
#ifdef FK_STATES
    float y[OUTPUTS];
    network_predict(network, y);
#else
    (void)network;
#endif
}

static inline bool network_finite(const network_t *network)
{
#ifdef FK_STATES
    return all_finite(network->state.value, FK_STATES);
#else
    (void)network;
    return true;
#endif
}

#endif
