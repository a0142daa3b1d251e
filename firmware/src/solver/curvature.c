#include "solver/curvature.h"

#if MPC_METHOD != MPC_GAUSS_NEWTON

/* Shares of the second derivatives that are tried: 1, 1/2, 1/4, 0, which is Gauss-Newton. */
#define HALVINGS 2

#if MPC_METHOD == MPC_SOLOWAY
/* A command that stands on its bound has a finite cost: the barrier rises no further than at
 * this share of the range from it. */
#define BARRIER_EDGE 1e-3f

/* BARRIER / (u - min) + BARRIER / (max - u), less its least value (Soloway and Haley, equation
 * 5); half its first and second derivative. */
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

float curvature_barrier(const mpc_config_t *config, plan_t *plan, float *gradient)
{
    float cost = 0.0f;
#if MPC_METHOD == MPC_SOLOWAY
    for (int v = 0; v < VARIABLES; ++v) {
        const int c = v % COMMANDS;
        float slope, curvature;
        cost += barrier(plan_planned(plan)[v], config->command_min[c], config->command_max[c],
                        &slope, &curvature);
        gradient[v] += slope;
    }
#else
    (void)config;
    (void)plan;
    (void)gradient;
#endif
    return cost;
}

/* Half the cost by what each stage hands on, y_d+t+1 and the network's state: back through the
 * horizon. */
static void find_adjoints(const curvature_t *curvature, float adjoints[PLANNED][JACOBIAN_ROWS])
{
    for (int t = PLANNED - 1; t >= 0; --t) {
        memset(adjoints[t], 0, sizeof adjoints[t]);
        memcpy(adjoints[t], curvature->slopes[t], sizeof curvature->slopes[t]);
        for (int later = t + 1; later < PLANNED && later - t <= OUTPUT_LAGS; ++later) {
            const float *column =
                curvature->jacobians[later] + COMMAND_INPUTS + (later - t - 1) * OUTPUTS;
            for (int r = 0; r < JACOBIAN_ROWS; ++r) {
                for (int q = 0; q < OUTPUTS; ++q) {
                    adjoints[t][q] =
                        mac(adjoints[later][r], column[r * JACOBIAN_COLUMNS + q], adjoints[t][q]);
                }
            }
        }
        for (int s = 0; s < NETWORK_STATES && t + 1 < PLANNED; ++s) {
            const float *column =
                curvature->jacobians[t + 1] + COMMAND_INPUTS + OUTPUT_INPUTS + s;
            for (int r = 0; r < JACOBIAN_ROWS; ++r) {
                adjoints[t][OUTPUTS + s] = mac(adjoints[t + 1][r], column[r * JACOBIAN_COLUMNS],
                                               adjoints[t][OUTPUTS + s]);
            }
        }
    }
}

/* Derivatives of all that fk is differentiated by at stage t, by variable v. */
static void direction_of(const plan_t *plan, sensitivities_t sensitivities, int t, int v,
                         float direction[LAG_SUMS])
{
    const int i = CONTROL_HORIZON - 1 - v / COMMANDS;
    const int c = v % COMMANDS;

    memset(direction, 0, LAG_SUMS * sizeof(float));
    for (int l = 0; l < INPUT_LAGS && l <= t; ++l) {
        direction[l * COMMANDS + c] = quadratic_command_slope(plan, i, t - l, c);
    }
    for (int l = 0; l < OUTPUT_LAGS && t - 1 - l >= i; ++l) {
        for (int q = 0; q < OUTPUTS; ++q) {
            direction[COMMAND_INPUTS + l * OUTPUTS + q] =
                quadratic_block(sensitivities, i, t - 1 - l)[q * COMMANDS + c];
        }
    }
    for (int s = 0; s < NETWORK_STATES && t - 1 >= i; ++s) {
        direction[COMMAND_INPUTS + OUTPUT_INPUTS + s] =
            quadratic_block(sensitivities, i, t - 1)[(OUTPUTS + s) * COMMANDS + c];
    }
}

void curvature_add(const mpc_config_t *config, network_t *network, plan_t *plan,
                   sensitivities_t sensitivities, const curvature_t *curvature, quadratic_t *model)
{
    float second[VARIABLES][VARIABLES] = {{0.0f}};
    float adjoints[PLANNED][JACOBIAN_ROWS];
    float directions[VARIABLES][LAG_SUMS];
    float bent[LAG_SUMS];
    float factor[LINSOLVE_STRIDE][LINSOLVE_STRIDE];

#if MPC_METHOD == MPC_SOLOWAY
    for (int v = 0; v < VARIABLES; ++v) {
        const int c = v % COMMANDS;
        float slope, bend;
        (void)barrier(plan_planned(plan)[v], config->command_min[c], config->command_max[c],
                      &slope, &bend);
        model->hessian[v][v] += bend;
    }
#else
    (void)config;
#endif
    find_adjoints(curvature, adjoints);
    network_rewind(network);
    for (int t = 0; t < PLANNED; ++t) {
        network_lags(network, command_of(plan, t), output_of(plan, t + INPUT_DELAY));
        for (int v = 0; v < VARIABLES; ++v) {
            direction_of(plan, sensitivities, t, v, directions[v]);
        }
        for (int v = 0; v < VARIABLES; ++v) {
            fk_hvp(NETWORK_STATE network->x, adjoints[t], directions[v], bent);
            for (int w = 0; w < VARIABLES; ++w) {
                for (int k = 0; k < LAG_SUMS; ++k) {
                    second[w][v] = mac(directions[w][k], bent[k], second[w][v]);
                }
            }
        }
        network_next(network);
    }
    float share = 1.0f;
    for (int halving = 0; halving <= HALVINGS; ++halving, share *= 0.5f) {
        quadratic_t bent_model = *model;
        for (int v = 0; v < VARIABLES; ++v) {
            for (int w = 0; w < VARIABLES; ++w) {
                /* The two are the same but for rounding. */
                const float both = 0.5f * (second[v][w] + second[w][v]);
                bent_model.hessian[v][w] = mac(share, both, bent_model.hessian[v][w]);
            }
        }
        if (linsolve_factor(bent_model.hessian, factor)) {
            *model = bent_model;
            return;
        }
    }
}

#endif
