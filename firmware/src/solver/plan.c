/* -O3 peels the loops over a handful of stages and commands. Measured as in linsolve.h: 19,885
 * instructions, and 19,952 with -O2, which is 376 bytes smaller. */
#ifdef __GNUC__
#pragma GCC optimize("O3")
#endif
#include "solver/plan.h"

#include "solver/barrier.h"

/* Parts of the state and of a plan that are copied whole. Both sides have the newest first.
 * Copied as structs and not by memcpy they are known to be aligned. What one type has written is
 * read as another, or as floats, so none may be taken for a place of its own. */
typedef struct MAY_ALIAS {
    float values[(INPUT_DELAY + INPUT_LAGS) * COMMANDS];
} past_commands_t;
typedef struct MAY_ALIAS {
    float values[OUTPUT_SLOTS * OUTPUTS];
} past_outputs_t;
typedef struct MAY_ALIAS {
    float values[(INPUT_DELAY + OUTPUT_SLOTS) * OUTPUTS]; /* y_d .. */
} known_outputs_t;

void plan_start(const mpc_config_t *config, const mpc_state_t *state, plan_t *plan,
                network_t *network)
{
    plan->as_recorded = is_as_recorded(config);
    for (int i = 0; i < CONTROL_HORIZON; ++i) {
        UNROLL for (int c = 0; c < COMMANDS; ++c) {
            command_of(plan, i)[c] = state->plan[i][c];
        }
    }
    *(past_commands_t *)command_of(plan, -1) = *(const past_commands_t *)state->commands;
    *(past_outputs_t *)output_of(plan, 0) = *(const past_outputs_t *)state->outputs;
    network_begin(network, state);
    for (int j = 0; j < INPUT_DELAY; ++j) {
        network_lags(network, command_of(plan, j - INPUT_DELAY), output_of(plan, j));
        network_predict(network, output_of(plan, j + 1));
    }
#ifdef FK_STATES
    network->start = network->state;
#endif
}

void plan_copy_past(plan_t *from, plan_t *to)
{
    to->as_recorded = from->as_recorded;
    *(past_commands_t *)command_of(to, -1) = *(past_commands_t *)command_of(from, -1);
    *(known_outputs_t *)output_of(to, INPUT_DELAY) =
        *(known_outputs_t *)output_of(from, INPUT_DELAY);
}

/* Moves one channel's planned commands into their bounds, each as little as it can. False if no u_0
 * is both within the bounds and within reach of u_-1; if there is one, the later commands can stay
 * there. A bound that is NaN makes it false, too. */
static __attribute__((noinline, cold)) bool bound_channel(const mpc_config_t *config, plan_t *plan,
                                                          int c)
{
    const float low = config->command_min[c];
    const float high = config->command_max[c];
    const float move_max = config->move_max[c];
    float command = command_of(plan, -1)[c];
    const bool feasible = low <= high && move_max >= 0.0f && command + move_max >= low
                          && command - move_max <= high;

    for (int i = 0; i < CONTROL_HORIZON; ++i) {
        float *planned = &command_of(plan, i)[c];
        command = clamp(clamp(*planned, command - move_max, command + move_max), low, high);
        *planned = command;
    }
    return feasible;
}

bool plan_bound(const mpc_config_t *config, plan_t *plan)
{
    bool feasible = true;
    for (int c = 0; c < COMMANDS; ++c) {
        const float low = config->command_min[c];
        const float high = config->command_max[c];
        const float move_max = config->move_max[c];
        const float *planned = &command_of(plan, 0)[c];
        UNROLL for (int i = 0; i < CONTROL_HORIZON; ++i, planned -= COMMANDS) {
            const float command = planned[0];
            const float before = planned[COMMANDS];
            if (!(command >= low && command <= high && command >= before - move_max
                  && command <= before + move_max)) {
                feasible = bound_channel(config, plan, c) && feasible;
                break;
            }
        }
    }
    plan_extend(config, plan);
    return feasible;
}

#if TAIL_CONTINUES
void plan_extend(const mpc_config_t *config, plan_t *plan)
{
    for (int c = 0; c < COMMANDS; ++c) {
        const float low = config->command_min[c];
        const float high = config->command_max[c];
        float *planned = &command_of(plan, CONTROL_HORIZON - 1)[c];
        float command = *planned;
        const float move = command - planned[COMMANDS];

        plan->stop[c] = REACH;
        NOT_UNROLLED for (int j = CONTROL_HORIZON; j < REACH; ++j) {
            const float wanted = command + move;
            if ((wanted > high + BOUND_TOLERANCE || wanted < low - BOUND_TOLERANCE)
                && plan->stop[c] == REACH) {
                plan->stop[c] = j;
            }
            command = clamp(wanted, low, high);
            planned -= COMMANDS;
            *planned = command;
        }
    }
}
#else
void plan_extend(const mpc_config_t *config, plan_t *plan)
{
    (void)config;
    for (int j = CONTROL_HORIZON; j < REACH; ++j) {
        UNROLL for (int c = 0; c < COMMANDS; ++c) {
            command_of(plan, j)[c] = command_of(plan, CONTROL_HORIZON - 1)[c];
        }
    }
}
#endif

static float command_cost(const mpc_config_t *config, plan_t *plan)
{
    float cost = 0.0f;

    for (int c = 0; c < COMMANDS; ++c) {
        const float *command = &command_of(plan, CONTROL_HORIZON - 1)[c];
        const float wanted = config->command_reference[c];
        float distance = *command - wanted;
        float distances = (float)(TAIL_CONTINUES ? 1 : TAIL) * distance * distance;
        float moves = 0.0f;
        UNROLL for (int i = CONTROL_HORIZON - 1; i >= 0; --i, command += COMMANDS) {
            const float move = command[0] - command[COMMANDS];
            moves = mac(move, move, moves);
            if (i > 0) {
                distance = command[COMMANDS] - wanted;
                distances = mac(distance, distance, distances);
            }
        }
        NOT_UNROLLED for (int j = CONTROL_HORIZON; TAIL_CONTINUES && j < REACH; ++j) {
            distance = command_of(plan, j)[c] - wanted;
            distances = mac(distance, distance, distances);
        }
        cost = mac(config->move_weight[c], moves, cost);
        cost = mac(config->command_weight[c], distances, cost);
    }
    return cost;
}

void plan_predict(const mpc_config_t *config, const float reference[HORIZON][OUTPUTS],
                  network_t *network, plan_t *plan)
{
    float weight[OUTPUTS];
    float slope[OUTPUTS];
    float cost = command_cost(config, plan);
#if MPC_METHOD != MPC_GAUSS_NEWTON
    float unused[VARIABLES] = {0.0f};
    cost += barrier_add(config, plan_variables(plan), unused);
#endif

    network_rewind(network);
    for (int j = INPUT_DELAY; j < HORIZON; ++j) {
        network_lags(network, command_of(plan, j - INPUT_DELAY), output_of(plan, j));
        network_predict(network, output_of(plan, j + 1));
        if (j + 1 >= FIRST_COST_STAGE) {
            cost += plan_output_cost(config, reference, plan, j + 1, weight, slope);
        }
    }
    plan->cost = cost;
}
