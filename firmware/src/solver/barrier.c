#include "solver/barrier.h"

#if MPC_METHOD != MPC_GAUSS_NEWTON

#include "solver/number.h"

#if MPC_METHOD == MPC_SOLOWAY
/* The barrier would be infinite on a bound. Nearer to it than this share of the range it rises no
 * further, so that a command on its bound has a finite cost. */
#define BARRIER_EDGE 1e-3f

/* BARRIER / (u - low) + BARRIER / (high - u), less its least value (Soloway and Haley, equation 5).
 * `slope` and `curvature` become half its first and half its second derivative. */
static float barrier(float u, float low, float high, float *slope, float *curvature)
{
    const float range = high - low;
    const float below = larger(u - low, BARRIER_EDGE * range);
    const float above = larger(high - u, BARRIER_EDGE * range);

    *slope = 0.5f * (BARRIER / (above * above) - BARRIER / (below * below));
    *curvature = BARRIER / (above * above * above) + BARRIER / (below * below * below);
    return BARRIER / below + BARRIER / above - 4.0f * BARRIER / range;
}
#endif

/* Only one method adds to `gradient`. NOLINTNEXTLINE(readability-non-const-parameter) */
float barrier_add(const mpc_config_t *config, const float *variables, float *gradient)
{
    float cost = 0.0f;
#if MPC_METHOD == MPC_SOLOWAY
    for (int v = 0; v < CONTROL_HORIZON * COMMANDS; ++v) {
        const int c = v % COMMANDS;
        float slope, curvature;
        cost += barrier(variables[v], config->command_min[c], config->command_max[c], &slope,
                        &curvature);
        gradient[v] += slope;
    }
#else
    (void)config;
    (void)variables;
    (void)gradient;
#endif
    return cost;
}

float barrier_curvature(const mpc_config_t *config, const float *variables, int v)
{
#if MPC_METHOD == MPC_SOLOWAY
    const int c = v % COMMANDS;
    float slope, curvature;
    (void)barrier(variables[v], config->command_min[c], config->command_max[c], &slope, &curvature);
    return curvature;
#else
    (void)config;
    (void)variables;
    (void)v;
    return 0.0f;
#endif
}

#endif
