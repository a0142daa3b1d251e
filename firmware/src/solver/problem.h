/* The problem that the MPC solves at each sample, in the network's normalised units: normalised =
 * (physical - offset) / scale. Sizes are compile-time macros of controller_config.h; bounds and
 * weights may change between steps.
 *
 * The decision is a plan of CONTROL_HORIZON commands u_0 .. u_Nc-1 within hard bounds,
 *
 *   command_min <= u_i <= command_max      |u_i - u_i-1| <= move_max
 *
 * and a tail: u_j = u_Nc-1 for later j, or, if TAIL_CONTINUES, u_j = clamp(u_j-1 + u_Nc-1 - u_Nc-2,
 * command_min, command_max). What follows from it, for j = 0 .. N-1 with the signals held, and with
 * the slow means of the commands, which hardly change in that time, is
 *
 *   y_j+1 = fk(u_j-d .. u_j-d-nd+1, y_j .. y_j-dd+1, signals, memory)
 *
 * (a recurrent fk carries its own state from stage to stage). The robot of today is not quite the
 * one that the network was trained on: it is taken to have the outputs
 *
 *   z_j = output_gain y_j + output_offset
 *
 * and these have the cost
 *
 *   sum_{j=FIRST_COST_STAGE..N} sum_i  Q_j,i (z_j,i - reference_j,i)^2
 *                                    + bound_weight_i (excess of z_j,i over its soft bounds)^2
 *   + sum_{j<Nc} sum_i move_weight_i (u_j,i - u_j-1,i)^2
 *   + sum_{j<N-d} sum_i command_weight_i (u_j,i - command_reference_i)^2
 *
 * with Q_j = output_weight, but Q_N = terminal_weight. Index j counts samples from now (k): u_-1 is
 * the command applied last, y_0 the output now; u_j with j >= N-d reaches no output. */
#ifndef PROBLEM_H
#define PROBLEM_H

#include <stdbool.h>
#include <stdint.h>

#include "controller_config.h"
#include "fk.h"
#include "solver/number.h"

/* MPC_METHOD, how the cost is taken to second order in the plan: MPC_GAUSS_NEWTON leaves second
 * derivatives of fk out, MPC_NEWTON takes them, MPC_SOLOWAY takes them too but keeps commands
 * off their bounds by the barrier of Soloway and Haley's cost. */
#define MPC_GAUSS_NEWTON 0
#define MPC_NEWTON 1
#define MPC_SOLOWAY 2
#ifndef MPC_METHOD
#define MPC_METHOD MPC_GAUSS_NEWTON
#endif

#define OUTPUT_SLOTS (OUTPUT_LAGS > 0 ? OUTPUT_LAGS : 1) /* y(k) is kept in any case */

/* Bounds and weights. Bounds may be infinite, weights are finite and not negative. */
typedef struct {
    float command_min[COMMANDS];
    float command_max[COMMANDS];
    float move_max[COMMANDS];          /* largest change of a command in one sample */
    float output_weight[OUTPUTS];      /* Q: cost of a squared tracking error, one sample */
    float terminal_weight[OUTPUTS];    /* Q of the last sample of the horizon */
    float output_min[OUTPUTS];         /* soft bounds, at a quadratic penalty */
    float output_max[OUTPUTS];
    float bound_weight[OUTPUTS];       /* cost of a squared excess over them, one sample */
    float move_weight[COMMANDS];       /* R: cost of a squared move */
    float command_weight[COMMANDS];    /* S: cost of a squared distance from command_reference */
    float command_reference[COMMANDS]; /* u_ref */
    float output_gain[OUTPUTS][OUTPUTS]; /* of the robot's outputs over the network's; identity: */
    float output_offset[OUTPUTS];        /* and 0: the robot is as it was when it was recorded */
} mpc_config_t;

/* What the network remembers, and the plan to start from. Lags are newest first. */
typedef struct {
    float commands[INPUT_DELAY + INPUT_LAGS][COMMANDS]; /* u(k-1), u(k-2) .. */
    float outputs[OUTPUT_SLOTS][OUTPUTS];               /* y(k), y(k-1) .. */
    float signals[SIGNALS > 0 ? SIGNALS : 1];           /* s(k); the caller sets them each step */
#if MEMORIES > 0
    float memory[MEMORIES]; /* slow means of the commands until u(k-1-d), by time constant */
#endif
    float plan[CONTROL_HORIZON][COMMANDS];              /* warm start: u_0 .. u_Nc-1 */
#ifdef FK_STATES
    fk_state network; /* before fk predicts y(k+1) */
#endif
} mpc_state_t;

/* Whether the network's outputs are the robot's, but for an offset. */
static inline bool is_as_recorded(const mpc_config_t *config)
{
    uint32_t other = 0;
    UNROLL for (int r = 0; r < OUTPUTS; ++r) {
        UNROLL for (int q = 0; q < OUTPUTS; ++q) {
            uint32_t gain;
            memcpy(&gain, &config->output_gain[r][q], sizeof gain);
            other |= gain ^ (r == q ? 0x3f800000u : 0u); /* 1.0f */
        }
    }
    return other == 0;
}

/* z, what the robot puts out where the network predicts y. */
static inline void robot_output(const mpc_config_t *config, const float y[OUTPUTS],
                                float z[OUTPUTS])
{
    UNROLL for (int r = 0; r < OUTPUTS; ++r) {
        z[r] = config->output_offset[r];
        UNROLL for (int q = 0; q < OUTPUTS; ++q) {
            z[r] = mac(config->output_gain[r][q], y[q], z[r]);
        }
    }
}

#endif
