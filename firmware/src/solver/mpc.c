/* The iteration: Soloway and Haley, "Neural generalized predictive control: a Newton-Raphson
 * implementation", 1996, with exact derivatives chained through the horizon (quadratic.h), a
 * step that keeps the bounds (bounded_step.h), and a line search, so that no iteration makes a plan
 * worse. */
#include "solver/mpc.h"

#include "solver/bounded_step.h"

/* A bounded step must promise to lower the cost by this share of it. A smaller change is lost in
 * the rounding of a float sum of squares. */
#define COST_TOLERANCE 1e-6f

/* Backtracking line search: tries the whole bounded step, whose commands `trial` brings, then
 * 1/2, 1/4 .. of it, until the cost is lower than that of `plan`. All these commands lie between
 * two that keep the bounds, so they keep them, too, but for the last bit of a move. `plan` and
 * `trial` change places when a better plan is found. */
static bool search(const mpc_config_t *config, const float reference[HORIZON][OUTPUTS],
                   network_t *network, plan_t **plan, plan_t **trial, uint8_t *trials)
{
    const float *from = plan_variables(*plan);
    float *to = plan_variables(*trial);

    for (int l = 0; l < LINE_SEARCH_TRIALS; ++l) {
        for (int v = 0; l > 0 && v < VARIABLES; ++v) {
            to[v] = mac(0.5f, to[v] - from[v], from[v]);
        }
        plan_extend(config, *trial);
        plan_predict(config, reference, network, *trial);
        ++*trials;
        /* What is no number is not lower, unless a compiler takes it that there are none. */
        if ((*trial)->cost < (*plan)->cost && is_finite((*trial)->cost)) {
            plan_t *better = *trial;
            *trial = *plan;
            *plan = better;
            return true;
        }
    }
    return false;
}

/* Measures the iterations of one control step, in ticks of mpc_clock_t. */
typedef struct {
    uint32_t start;
    uint32_t spent;   /* ticks from the start to the last look at the clock */
    uint32_t longest; /* ticks of the longest iteration so far */
} stopwatch_t;

/* Is there time for one more iteration as long as the longest so far? */
static bool in_time(const mpc_clock_t *clock, stopwatch_t *watch)
{
    if (clock == NULL) {
        return true;
    }
    const uint32_t spent = clock->now(clock->context) - watch->start;
    const uint32_t last = spent - watch->spent;
    watch->spent = spent;
    watch->longest = last > watch->longest ? last : watch->longest;
    return spent < clock->budget && watch->longest <= clock->budget - spent;
}

/* Iterates until no bounded step helps, or until the iterations or the time are used up. */
static mpc_status_t improve(const mpc_config_t *config, const float reference[HORIZON][OUTPUTS],
                            network_t *network, const mpc_clock_t *clock, plan_t **plan,
                            plan_t **trial, mpc_result_t *result)
{
    stopwatch_t watch = {.start = clock == NULL ? 0u : clock->now(clock->context)};
    quadratic_t quadratic;

    while (result->iterations < MPC_ITERATIONS) {
        float promise;
        if (!in_time(clock, &watch)) {
            return MPC_DEADLINE;
        }
        quadratic_build(config, reference, network, *plan, &quadratic);
        ++result->iterations;
        result->cost = (*plan)->cost;
        const float enough = COST_TOLERANCE * result->cost;
        if (!is_finite(result->cost)
            || !bounded_step_find(config, *plan, &quadratic, enough, plan_variables(*trial),
                                  &promise)) {
            return MPC_NOT_FINITE;
        }
        if (promise <= enough) {
            return MPC_CONVERGED;
        }
        if (!search(config, reference, network, plan, trial, &result->trials)) {
            return MPC_MAX_ITERATIONS;
        }
        result->cost = (*plan)->cost;
    }
    return MPC_MAX_ITERATIONS;
}

/* The answer to a problem without a solution: the last command, or the one nearest to it within the
 * bounds, and a plan that stays there. */
static void hold_command(const mpc_config_t *config, mpc_state_t *state, mpc_result_t *result)
{
    result->cost = 0.0f;
    for (int c = 0; c < COMMANDS; ++c) {
        const float last = is_finite(state->commands[0][c]) ? state->commands[0][c] : 0.0f;
        const float bounded = clamp(last, config->command_min[c], config->command_max[c]);
        result->command[c] = is_finite(bounded) ? bounded : last;
        for (int i = 0; i < CONTROL_HORIZON; ++i) {
            state->plan[i][c] = result->command[c];
        }
    }
}

/* For so many samples a recurrent network has seen the robot rest, when it begins. A state of zeros
 * is none of rest: a network that was trained on sequences needs some ten samples to find out where
 * the robot is. soft_control/learning/model.py has the same. */
#define REST_SAMPLES 40

void mpc_reset(mpc_state_t *state, const float command[COMMANDS], const float output[OUTPUTS])
{
    memset(state, 0, sizeof *state);
    for (int l = 0; l < INPUT_DELAY + INPUT_LAGS; ++l) {
        memcpy(state->commands[l], command, sizeof state->commands[l]);
    }
    for (int l = 0; l < OUTPUT_SLOTS; ++l) {
        memcpy(state->outputs[l], output, sizeof state->outputs[l]);
    }
#if MEMORIES > 0
    for (int i = 0; i < MEMORIES; ++i) {
        state->memory[i] = command[i % COMMANDS];
    }
#endif
#ifdef FK_STATES
    network_t network;
    network_begin(&network, state);
    network_lags(&network, state->commands[INPUT_DELAY], state->outputs[0]);
    for (int k = 0; k < REST_SAMPLES; ++k) {
        network_next(&network);
    }
    state->network = network.state;
#endif
    mpc_plan_anew(state);
}

void mpc_plan_anew(mpc_state_t *state)
{
    for (int i = 0; i < CONTROL_HORIZON; ++i) {
        memcpy(state->plan[i], state->commands[0], sizeof state->plan[i]);
    }
}

mpc_result_t mpc_step(const mpc_config_t *config, mpc_state_t *state,
                      const float reference[HORIZON][OUTPUTS], const mpc_clock_t *clock)
{
    mpc_result_t result;
    plan_t plans[2];
    plan_t *plan = &plans[0];
    plan_t *trial = &plans[1];
    network_t network;

    result.status = MPC_NOT_FINITE;
    result.iterations = 0;
    result.trials = 0;
    result.cost = 0.0f;
    /* mpc_state_t has only floats. A reference that is not finite makes the cost so, too. */
    if (all_finite((const float *)state, (int)(sizeof *state / sizeof(float)))) {
        plan_start(config, state, plan, &network);
        if (plan_bound(config, plan)) {
            plan_copy_past(plan, trial);
            result.status =
                improve(config, reference, &network, clock, &plan, &trial, &result);
        } else {
            result.status = MPC_INFEASIBLE_PROBLEM;
        }
    }
    if (result.status == MPC_NOT_FINITE || result.status == MPC_INFEASIBLE_PROBLEM) {
        hold_command(config, state, &result);
        return result;
    }
    for (int i = 0; i < CONTROL_HORIZON; ++i) {
        UNROLL for (int c = 0; c < COMMANDS; ++c) {
            const float command = command_of(plan, i)[c];
            state->plan[i][c] = command;
            if (i == 0) {
                result.command[c] = command;
            }
        }
    }
    return result;
}

/* Moves all rows one place back, so that the oldest is lost, and puts `newest` first. `newest`
 * may be the first row itself, which then stands twice. */
static void shift_in(float *rows, int count, const float *newest, int width)
{
    for (int q = count * width - 1; q >= width; --q) {
        rows[q] = rows[q - width];
    }
    for (int q = 0; q < width; ++q) {
        rows[q] = newest[q];
    }
}

/* The slow means take the newest command that acts. */
static void remember(mpc_state_t *state)
{
#if MEMORIES > 0
    static const float gain[MEMORIES] = MEMORY_GAIN;
    for (int i = 0; i < MEMORIES; ++i) {
        const float acting = state->commands[INPUT_DELAY][i % COMMANDS];
        state->memory[i] = mac(gain[i], acting - state->memory[i], state->memory[i]);
    }
#else
    (void)state;
#endif
}

bool mpc_advance(mpc_state_t *state, const float command[COMMANDS])
{
    const bool command_finite = all_finite(command, COMMANDS);
    network_t network;
    float y[OUTPUTS];

    shift_in(state->commands[0], INPUT_DELAY + INPUT_LAGS,
             command_finite ? command : state->commands[0], COMMANDS);
    remember(state);
    network_begin(&network, state);
    network_lags(&network, state->commands[INPUT_DELAY], state->outputs[0]);
    network_predict(&network, y);
    const bool output_finite = all_finite(network.x, FK_INPUTS) && all_finite(y, OUTPUTS)
                               && network_finite(&network);
    shift_in(state->outputs[0], OUTPUT_SLOTS, output_finite ? y : state->outputs[0], OUTPUTS);
#ifdef FK_STATES
    if (output_finite) {
        state->network = network.state;
    }
#endif
    for (int c = 0; c < COMMANDS; ++c) {
        const int last = CONTROL_HORIZON - 1;
        const float end = state->plan[last][c];
        const float move = TAIL_CONTINUES && last > 0 ? end - state->plan[last - 1][c] : 0.0f;
        for (int i = 0; i < last; ++i) {
            state->plan[i][c] = state->plan[i + 1][c];
        }
        state->plan[last][c] = end + move;
    }
    return command_finite && output_finite;
}
