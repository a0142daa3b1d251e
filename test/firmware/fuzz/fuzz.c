/* Random problems for the solver, most of them hostile: extreme weights and bounds, NaN and infinity
 * anywhere. The exit code is 1 at the first answer that breaks a promise of mpc.h.
 *
 *   fuzz PROBLEMS [SEED] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "solver/mpc.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof(float)))

static uint64_t state_of_chance;

/* xorshift64* */
static uint32_t chance(void)
{
    state_of_chance ^= state_of_chance >> 12;
    state_of_chance ^= state_of_chance << 25;
    state_of_chance ^= state_of_chance >> 27;
    return (uint32_t)((state_of_chance * 2685821657736338717u) >> 32);
}

/* -1 .. 1 */
static float uniform(void)
{
    return (float)(chance() >> 8) / 8388608.0f - 1.0f;
}

static bool one_in(unsigned count)
{
    return chance() % count == 0u;
}

static float extreme(void)
{
    switch (chance() % 8u) {
    case 0:
        return NAN;
    case 1:
        return INFINITY;
    case 2:
        return -INFINITY;
    case 3:
        return 3.4e38f * uniform();
    case 4:
        return 1e-40f;
    case 5:
        return -0.0f;
    default:
        return powf(10.0f, 38.0f * uniform()) * uniform();
    }
}

/* How many values of a problem are extreme: one in so many. */
static unsigned rarity;

static void fill(float *values, int count, float middle, float size)
{
    for (int i = 0; i < count; ++i) {
        values[i] = one_in(rarity) ? extreme() : middle + size * uniform();
    }
}

/* Weights over six decades, and zeros. */
static void fill_weights(float *weights, int count)
{
    for (int i = 0; i < count; ++i) {
        weights[i] = one_in(rarity) ? extreme()
                     : one_in(4u)   ? 0.0f
                                    : powf(10.0f, 3.0f * uniform());
    }
}

static void draw(mpc_config_t *config, mpc_state_t *state, float reference[HORIZON][OUTPUTS])
{
    rarity = one_in(2u) ? 1000000u : 1u << (3u + chance() % 8u);
    fill((float *)&weights, COUNT(weights), 0.0f, one_in(10u) ? 5.0f : 0.5f);
    for (int i = 0; i < COUNT(weights); ++i) {
        float *weight = (float *)&weights + i;
        *weight = isfinite(*weight) ? *weight : 0.0f; /* the network itself is what was compiled */
    }
    fill(config->command_min, COMMANDS, -0.5f, 0.5f);
    fill(config->command_max, COMMANDS, 0.5f, 0.5f);
    fill(config->move_max, COMMANDS, 0.5f, 0.5f);
    fill(config->output_min, OUTPUTS, -1.0f, 1.0f);
    fill(config->output_max, OUTPUTS, 1.0f, 1.0f);
    fill(config->output_gain[0], OUTPUTS * OUTPUTS, 0.3f, 0.5f);
    fill(config->output_offset, OUTPUTS, 0.0f, 0.5f);
    fill(config->command_reference, COMMANDS, 0.0f, 1.0f);
    fill_weights(config->output_weight, OUTPUTS);
    fill_weights(config->terminal_weight, OUTPUTS);
    fill_weights(config->bound_weight, OUTPUTS);
    fill_weights(config->move_weight, COMMANDS);
    fill_weights(config->command_weight, COMMANDS);
    fill((float *)state, COUNT(*state), 0.0f, 1.0f);
    fill(reference[0], HORIZON * OUTPUTS, 0.0f, 2.0f);
}

/* Rounding of a sum of such sizes. */
static float last_bits(float a, float b, float c)
{
    return 4.0f * 0x1p-23f * (fabsf(a) + fabsf(b) + fabsf(c));
}

static const char *broken(const mpc_config_t *config, const mpc_state_t *before,
                          const mpc_state_t *after, const mpc_result_t *result)
{
    const bool solved =
        result->status != MPC_NOT_FINITE && result->status != MPC_INFEASIBLE_PROBLEM;

    if (result->status > MPC_INFEASIBLE_PROBLEM) {
        return "no status";
    }
    if (!isfinite(result->cost)) {
        return "cost not finite";
    }
    if (result->iterations > MPC_ITERATIONS
        || result->trials > LINE_SEARCH_TRIALS * result->iterations) {
        return "too many iterations or trials";
    }
    for (int c = 0; c < COMMANDS; ++c) {
        const float low = config->command_min[c];
        const float high = config->command_max[c];
        const bool roomy = low <= high && low < INFINITY && high > -INFINITY;
        float last = before->commands[0][c];
        for (int i = 0; i < CONTROL_HORIZON; ++i) {
            const float u = after->plan[i][c];
            if (!isfinite(u)) {
                return "plan not finite";
            }
            if (roomy && !(u >= low && u <= high)) {
                return "out of its bounds";
            }
            const float move_max = config->move_max[c];
            if (solved && fabsf(u - last) > move_max + last_bits(u, last, move_max)) {
                return "moves too far";
            }
            last = u;
        }
        if (result->command[c] < after->plan[0][c] || result->command[c] > after->plan[0][c]) {
            return "not the plan's first command";
        }
    }
    return NULL;
}

static uint32_t random_time(void *context)
{
    (void)context;
    return chance() % 100u;
}

int main(int count, char **arguments)
{
    const long problems = count > 1 ? strtol(arguments[1], NULL, 10) : 1000;
    long statuses[MPC_INFEASIBLE_PROBLEM + 1] = {0};

    state_of_chance = 88172645463325252u + (count > 2 ? strtoull(arguments[2], NULL, 10) : 0u);
    for (long problem = 0; problem < problems; ++problem) {
        mpc_config_t config;
        mpc_state_t state;
        float reference[HORIZON][OUTPUTS];
        const mpc_clock_t clock = {.now = random_time, .context = NULL, .budget = 90u};
        const bool timed = one_in(4u);

        draw(&config, &state, reference);
        for (int k = 0; k < 2; ++k) {
            const mpc_state_t before = state;
            const mpc_result_t result = mpc_step(&config, &state, (const float(*)[OUTPUTS])reference,
                                                 timed ? &clock : NULL);
            const char *promise = broken(&config, &before, &state, &result);
            if (promise != NULL) {
                printf("problem %ld, step %d, status %d: %s\n", problem, k, (int)result.status,
                       promise);
                return 1;
            }
            ++statuses[result.status];
            mpc_advance(&state, result.command);
        }
    }
    printf("%ld problems: %ld converged, %ld out of iterations, %ld not finite, %ld late, "
           "%ld infeasible\n",
           problems, statuses[0], statuses[1], statuses[2], statuses[3], statuses[4]);
    return 0;
}
