/* A plan of commands and what follows from it over the horizon: bounds, outputs, cost.
 *
 * Time runs backwards in every array over the horizon, newest first, the past at the end: the lags
 * that fk wants at any stage are then one contiguous slice, already in its order. */
#ifndef PLAN_H
#define PLAN_H

#include "solver/mpc.h"
#include "solver/network.h"
#include "solver/number.h"

#define VARIABLES (CONTROL_HORIZON * COMMANDS)
#define PLANNED (HORIZON - INPUT_DELAY) /* commands u_0 .. that reach an output in the horizon */
#define TAIL (PLANNED - CONTROL_HORIZON + 1) /* of these the last planned one and those after it */

#if CONTROL_HORIZON < 1 || CONTROL_HORIZON > PLANNED
#error "CONTROL_HORIZON must be in 1 .. HORIZON - INPUT_DELAY: later commands reach no output"
#endif
#if FIRST_COST_STAGE <= INPUT_DELAY || FIRST_COST_STAGE > HORIZON
#error "FIRST_COST_STAGE must be in INPUT_DELAY + 1 .. HORIZON"
#endif

/* A bound counts as reached this near to it, so that steps do not creep up to it (Bertsekas). */
#define BOUND_TOLERANCE 1e-5f

typedef struct {
    float commands[(PLANNED + INPUT_DELAY + INPUT_LAGS) * COMMANDS]; /* u_N-1-d .. u_0, u_-1 .. */
    float outputs[(HORIZON + OUTPUT_SLOTS) * OUTPUTS];               /* y_N .. y_1, y_0 .. */
    int stop[COMMANDS]; /* first j of a continued tail that a bound stops, else PLANNED */
    float cost;
} plan_t;

/* u_j; j < 0 is the past. */
static inline float *command_of(plan_t *plan, int j)
{
    return plan->commands + (PLANNED - 1 - j) * COMMANDS;
}

/* The planned commands u_Nc-1 .. u_0, then u_-1: the variables of the solver in their order. */
static inline float *plan_planned(plan_t *plan)
{
    return command_of(plan, CONTROL_HORIZON - 1);
}

/* y_j; j <= 0 is the past. */
static inline float *output_of(plan_t *plan, int j)
{
    return plan->outputs + (HORIZON - j) * OUTPUTS;
}

/* What y_j costs. `weight`: half the second derivative by y_j, a diagonal; `slope`: half the
 * first. */
static inline float plan_output_cost(const mpc_config_t *config,
                                     const float reference[HORIZON][OUTPUTS], plan_t *plan, int j,
                                     float weight[OUTPUTS], float slope[OUTPUTS])
{
    const float *wanted = reference[j - 1];
    const float *tracking = j == HORIZON ? config->terminal_weight : config->output_weight;
    const float *y = output_of(plan, j);
    float cost = 0.0f;

    UNROLL for (int r = 0; r < OUTPUTS; ++r) {
        const float error = y[r] - wanted[r];
        weight[r] = tracking[r];
        slope[r] = weight[r] * error;
        cost = mac(slope[r], error, cost);
        if (y[r] > config->output_max[r] || y[r] < config->output_min[r]) {
            const float excess = y[r] - clamp(y[r], config->output_min[r], config->output_max[r]);
            const float push = config->bound_weight[r] * excess;
            weight[r] += config->bound_weight[r];
            slope[r] += push;
            cost = mac(push, excess, cost);
        }
    }
    return cost;
}

/* The past of `state`, with a network that has its signals; y_1 .. y_d follow, which no plan
 * changes. */
void plan_start(const mpc_state_t *state, plan_t *plan, network_t *network);

/* What comes before u_0 and y_d+1, the same in every plan of a sample. */
void plan_copy_past(plan_t *from, plan_t *to);

/* u_Nc .. from the planned commands. */
void plan_extend(const mpc_config_t *config, plan_t *plan);

/* u_0 .. u_Nc-1 as near as the bounds let them be, each after the one before it, and extended.
 * False if no command is within the bounds. */
bool plan_bound(const mpc_config_t *config, plan_t *plan);

/* y_d+1 .. y_N of the commands, and the cost. */
void plan_predict(const mpc_config_t *config, const float reference[HORIZON][OUTPUTS],
                  network_t *network, plan_t *plan);

#endif
