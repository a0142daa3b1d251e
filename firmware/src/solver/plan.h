/* A plan of commands and what follows from it over the horizon: bounds, outputs, cost.
 *
 * Time runs backwards in every array over the horizon: the newest first, the past at the end. The
 * lags that fk wants at any stage are then one slice, in the order in which fk wants them. With
 * REACH = 4, no delay and three command lags:
 *
 *     commands   u_3   u_2   u_1   u_0   u_-1  u_-2
 *                     |---------------|              what fk sees at stage t = 2
 *                                 |---------------|  what fk sees at stage t = 0 */
#ifndef PLAN_H
#define PLAN_H

#include "solver/network.h"
#include "solver/number.h"
#include "solver/problem.h"

/* The numbers that the solver chooses: the planned commands u_0 .. u_Nc-1. */
#define VARIABLES (CONTROL_HORIZON * COMMANDS)

/* Index of the first variable of u_i: the newest command comes first. */
#define VARIABLE_OF(i) ((CONTROL_HORIZON - 1 - (i)) * COMMANDS)

/* The commands u_0 .. u_REACH-1 reach an output within the horizon, later ones do not. Stage t =
 * 0 .. REACH-1 is the one at which fk first sees u_t: its output is y_d+t+1. */
#define REACH (HORIZON - INPUT_DELAY)

/* Of these commands, the last planned one and all that follow it. */
#define TAIL (REACH - CONTROL_HORIZON + 1)

#if CONTROL_HORIZON < 1 || CONTROL_HORIZON > REACH
#error "CONTROL_HORIZON must be in 1 .. HORIZON - INPUT_DELAY: later commands reach no output"
#endif
#if FIRST_COST_STAGE <= INPUT_DELAY || FIRST_COST_STAGE > HORIZON
#error "FIRST_COST_STAGE must be in INPUT_DELAY + 1 .. HORIZON"
#endif

/* A command this near to a bound counts as standing on it: otherwise ever smaller steps would
 * creep up to it (Bertsekas). */
#define BOUND_TOLERANCE 1e-5f

typedef struct {
    float commands[(REACH + INPUT_DELAY + INPUT_LAGS) * COMMANDS]; /* u_N-1-d .. u_0, u_-1 .. */
    float outputs[(HORIZON + OUTPUT_SLOTS) * OUTPUTS];               /* y_N .. y_1, y_0 .. */
    int stop[COMMANDS]; /* first j at which a bound stops a continued tail; REACH: none does */
    float cost;
    bool as_recorded; /* the robot's outputs are the network's, but for an offset */
} plan_t;

/* u_j for j < REACH; a negative j is the past. */
static inline float *command_of(plan_t *plan, int j)
{
    return plan->commands + (REACH - 1 - j) * COMMANDS;
}

/* The variables in their order: the planned commands u_Nc-1 .. u_0. Behind them stands u_-1. */
static inline float *plan_variables(plan_t *plan)
{
    return command_of(plan, CONTROL_HORIZON - 1);
}

/* y_j for j <= HORIZON; y_0 is the output now, a negative j the past. */
static inline float *output_of(plan_t *plan, int j)
{
    return plan->outputs + (HORIZON - j) * OUTPUTS;
}

/* Returns what y_j costs by what the robot makes of it, z_j. `slope` becomes half the derivative of
 * that by z_j; `weight` half the second derivative, of which only the diagonal is not 0. */
static inline float plan_output_cost(const mpc_config_t *config,
                                     const float reference[HORIZON][OUTPUTS], plan_t *plan, int j,
                                     float weight[OUTPUTS], float slope[OUTPUTS])
{
    const float *wanted = reference[j - 1];
    const float *tracking = j == HORIZON ? config->terminal_weight : config->output_weight;
    float z[OUTPUTS];
    float cost = 0.0f;

    if (plan->as_recorded) {
        UNROLL for (int r = 0; r < OUTPUTS; ++r) {
            z[r] = output_of(plan, j)[r] + config->output_offset[r];
        }
    } else {
        robot_output(config, output_of(plan, j), z);
    }
    UNROLL for (int r = 0; r < OUTPUTS; ++r) {
        const float error = z[r] - wanted[r];
        weight[r] = tracking[r];
        slope[r] = weight[r] * error;
        cost = mac(slope[r], error, cost);
        if (z[r] > config->output_max[r] || z[r] < config->output_min[r]) {
            const float excess = z[r] - clamp(z[r], config->output_min[r], config->output_max[r]);
            const float push = config->bound_weight[r] * excess;
            weight[r] += config->bound_weight[r];
            slope[r] += push;
            cost = mac(push, excess, cost);
        }
    }
    return cost;
}

/* Begins a plan with the past and the warm start of `state`, and `network` with its signals. Also
 * predicts y_1 .. y_d, which no command can change any more. */
void plan_start(const mpc_config_t *config, const mpc_state_t *state, plan_t *plan,
                network_t *network);

/* Copies all that comes before u_0 and y_d+1: it is the same in every plan of a sample. */
void plan_copy_past(plan_t *from, plan_t *to);

/* Sets the tail u_Nc .. u_REACH-1 by the planned commands. */
void plan_extend(const mpc_config_t *config, plan_t *plan);

/* Moves u_0 .. u_Nc-1 into their bounds, each as little as it can, one after the other, and sets
 * the tail. False if the bounds leave no u_0. */
bool plan_bound(const mpc_config_t *config, plan_t *plan);

/* Predicts y_d+1 .. y_N by the commands, and sets the cost. */
void plan_predict(const mpc_config_t *config, const float reference[HORIZON][OUTPUTS],
                  network_t *network, plan_t *plan);

#endif
