#include "solver/curvature.h"

#include "solver/barrier.h"

#if MPC_METHOD != MPC_GAUSS_NEWTON

/* So often the share of the second derivatives is halved before they are left out: 1, 1/2, 1/4. */
#define HALVINGS 2

/* The adjoint of stage t: half the derivative of the whole cost by what that stage hands on,
 * y_d+t+1 and the network's state. It is what y_d+t+1 costs itself and what it does to later
 * stages, so the last stage comes first. */
static void find_adjoints(const curvature_t *curvature, float adjoints[REACH][JACOBIAN_ROWS])
{
    for (int t = REACH - 1; t >= 0; --t) {
        memset(adjoints[t], 0, sizeof adjoints[t]);
        memcpy(adjoints[t], curvature->slopes[t], sizeof curvature->slopes[t]);
        for (int later = t + 1; later < REACH && later - t <= OUTPUT_LAGS; ++later) {
            const float *column =
                curvature->jacobians[later] + COMMAND_INPUTS + (later - t - 1) * OUTPUTS;
            for (int r = 0; r < JACOBIAN_ROWS; ++r) {
                for (int q = 0; q < OUTPUTS; ++q) {
                    adjoints[t][q] =
                        mac(adjoints[later][r], column[r * JACOBIAN_COLUMNS + q], adjoints[t][q]);
                }
            }
        }
        for (int s = 0; s < NETWORK_STATES && t + 1 < REACH; ++s) {
            const float *column =
                curvature->jacobians[t + 1] + COMMAND_INPUTS + OUTPUT_INPUTS + s;
            for (int r = 0; r < JACOBIAN_ROWS; ++r) {
                adjoints[t][OUTPUTS + s] = mac(adjoints[t + 1][r], column[r * JACOBIAN_COLUMNS],
                                               adjoints[t][OUTPUTS + s]);
            }
        }
    }
}

/* The derivative by variable v of every input of fk at stage t that has a column in its
 * Jacobian. */
static void direction_of(const plan_t *plan, sensitivities_t sensitivities, int t, int v,
                         float direction[LAG_SUMS])
{
    const int i = CONTROL_HORIZON - 1 - v / COMMANDS;
    const int c = v % COMMANDS;

    memset(direction, 0, LAG_SUMS * sizeof(float));
    for (int l = 0; l < INPUT_LAGS && l <= t; ++l) {
        direction[l * COMMANDS + c] = sensitivities_command_slope(plan, i, t - l, c);
    }
    for (int l = 0; l < OUTPUT_LAGS && t - 1 - l >= i; ++l) {
        for (int q = 0; q < OUTPUTS; ++q) {
            direction[COMMAND_INPUTS + l * OUTPUTS + q] =
                sensitivities_block(sensitivities, i, t - 1 - l)[q * COMMANDS + c];
        }
    }
    for (int s = 0; s < NETWORK_STATES && t - 1 >= i; ++s) {
        direction[COMMAND_INPUTS + OUTPUT_INPUTS + s] =
            sensitivities_block(sensitivities, i, t - 1)[(OUTPUTS + s) * COMMANDS + c];
    }
}

void curvature_add(const mpc_config_t *config, network_t *network, plan_t *plan,
                   sensitivities_t sensitivities, const curvature_t *curvature,
                   float hessian[LINSOLVE_STRIDE][LINSOLVE_STRIDE])
{
    float second[VARIABLES][VARIABLES] = {{0.0f}};
    float adjoints[REACH][JACOBIAN_ROWS];
    float directions[VARIABLES][LAG_SUMS];
    float bent[LAG_SUMS];
    float factor[LINSOLVE_STRIDE][LINSOLVE_STRIDE];

    for (int v = 0; v < VARIABLES; ++v) {
        hessian[v][v] += barrier_curvature(config, plan_variables(plan), v);
    }
    find_adjoints(curvature, adjoints);
    network_rewind(network);
    for (int t = 0; t < REACH; ++t) {
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
    for (int halving = 0; halving <= HALVINGS; ++halving) {
        float trial[LINSOLVE_STRIDE][LINSOLVE_STRIDE];
        memcpy(trial, hessian, sizeof trial);
        for (int v = 0; v < VARIABLES; ++v) {
            for (int w = 0; w < VARIABLES; ++w) {
                /* Both halves of `second` are the same but for rounding: their mean is
                 * symmetric. */
                const float both = 0.5f * (second[v][w] + second[w][v]);
                trial[v][w] = mac(share, both, trial[v][w]);
            }
        }
        if (linsolve_factor(trial, factor)) {
            memcpy(hessian, trial, sizeof trial);
            return;
        }
        share *= 0.5f;
    }
}

#endif
