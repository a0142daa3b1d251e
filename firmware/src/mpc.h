/* Newton-Raphson model-predictive control on the generated forward kinematics fk.
 *
 * Everything here is in the network's normalised units: normalised = (physical - offset) / scale.
 * Sizes are compile-time macros of controller_config.h. No memory outlives a call but mpc_state_t.
 *
 * The decision is a plan of CONTROL_HORIZON moves D_0 .. D_Nc-1, |D_i| <= move_max:
 *
 *   u_j   = clamp(u_j-1 + D_j, command_min, command_max)      j < Nc
 *   u_j   = clamp(u_j-1 + D_Nc-1, ...) if TAIL_CONTINUES, else u_j-1, for later j
 *   y_j+1 = fk(u_j-d .. u_j-d-nd+1, y_j .. y_j-dd+1, signals)  j = 0 .. N-1, signals held
 *
 *   cost  = sum_{j=FIRST_COST_STAGE..N} sum_i output_weight_i (y_j,i - reference_j,i)^2
 *         + sum_{j<Nc} sum_i move_weight_i D_j,i^2
 *
 * Index j counts samples from now (k): u_-1 is the command applied last, y_0 the output now. A move
 * whose command is stopped by its bound counts only as far as the command goes. */
#ifndef MPC_H
#define MPC_H

#include <stdbool.h>
#include <stdint.h>

#include "controller_config.h"

typedef enum {
    MPC_CONVERGED,      /* no step promises to lower the cost by a millionth */
    MPC_MAX_ITERATIONS, /* best plan so far: iterations used up, or no lower cost along the step */
    MPC_NOT_FINITE,     /* NaN, infinity or overflow: the last command is held */
} mpc_status_t;

/* Bounds and weights. */
typedef struct {
    float command_min[COMMANDS];  /* lower bound of the commands, normalised */
    float command_max[COMMANDS];  /* upper bound of the commands, normalised */
    float move_max[COMMANDS];     /* largest change of a command in one sample, normalised */
    float output_weight[OUTPUTS]; /* Q: cost of a squared normalised tracking error, one sample */
    float move_weight[COMMANDS];  /* R: cost of a squared normalised move */
} mpc_config_t;

/* What the network remembers, and the plan to start from. Lags are newest first. */
typedef struct {
    float commands[INPUT_DELAY + INPUT_LAGS][COMMANDS]; /* u(k-1), u(k-2) .., normalised */
    float outputs[OUTPUT_LAGS][OUTPUTS];                /* y(k), y(k-1) .., normalised */
    float signals[SIGNALS > 0 ? SIGNALS : 1]; /* s(k), normalised; the caller sets them each step */
    float moves[CONTROL_HORIZON][COMMANDS]; /* warm start: D_0 .. D_Nc-1, normalised */
} mpc_state_t;

typedef struct {
    mpc_status_t status;
    uint8_t iterations;      /* linearisations made */
    uint8_t trials;          /* plans tried by the line searches of all iterations */
    float cost;              /* cost of the plan; 0 if not finite */
    float command[COMMANDS]; /* u(k), normalised, within its bounds, finite */
} mpc_result_t;

/* Rest at `command` and `output`: all lags equal, signals zero, no move planned. */
void mpc_reset(mpc_state_t *state, const float command[COMMANDS], const float output[OUTPUTS]);

/* Improve the plan of `state` from sample k and return its first command u(k).
 * reference[j] is the wanted output of sample k+j+1, normalised. */
mpc_result_t mpc_step(const mpc_config_t *config, mpc_state_t *state,
                      const float reference[HORIZON][OUTPUTS]);

/* Apply u(k): shift it into the lags, predict y(k+1) with the signals of sample k, shift the warm
 * start. False if the command or the prediction is not finite; its predecessor then stands in for
 * it, so that one bad sample passes. */
bool mpc_advance(mpc_state_t *state, const float command[COMMANDS]);

#endif
