/* The first scheduling pass stretches the lives of sums beyond the registers, and moves them about. */
#ifdef __GNUC__
#pragma GCC optimize("no-schedule-insns")
#endif
#include "solver/quadratic.h"

#include "solver/curvature.h"

/* du_j/du_i of one channel: 1 for the command itself; the last one, and in a continued tail the one
 * before it, also move what follows, until a bound stops that. */
float quadratic_command_slope(const plan_t *plan, int i, int j, int c)
{
#if TAIL_CONTINUES
    if (j >= CONTROL_HORIZON && i >= CONTROL_HORIZON - 2) {
        const float after = (float)(j - CONTROL_HORIZON + 1);
        return j >= plan->stop[c] ? 0.0f : i == CONTROL_HORIZON - 1 ? after + 1.0f : -after;
    }
    return i == j ? 1.0f : 0.0f;
#else
    (void)plan;
    (void)c;
    return i == j || (i == CONTROL_HORIZON - 1 && j > i) ? 1.0f : 0.0f;
#endif
}

/* Curvature of a command without any effect: so that nothing is divided by 0. */
#define TINY 1e-30f

#define MOVES_TAIL (CONTROL_HORIZON - 1 - TAIL_CONTINUES) /* first i that does */

/* Every command that fk sees at stage t is the held last one. */
static inline bool holds_all_lags(int t)
{
    return HAS_LAG_SUMS && !TAIL_CONTINUES && t >= CONTROL_HORIZON + INPUT_LAGS - 2;
}

/* So many leading columns of the Jacobian belong to what moves with the plan at stage t: not the past
 * before it. */
static inline int moving_columns(int t)
{
    return t == 0               ? COMMANDS
           : NETWORK_STATES > 0 ? LAG_SUMS
                                : COMMAND_INPUTS + fewer(t, OUTPUT_LAGS) * OUTPUTS;
}

/* `height` rows: `sum` = dfk/du_t-l du_t-l/du_i over the lags l. */
static inline void add_commands(float *sum, int height, const plan_t *plan, const float *rows,
                                int i, int t)
{
    const int oldest = t - i;
    int l = i >= MOVES_TAIL ? 0 : oldest;

    if (i == CONTROL_HORIZON - 1 && holds_all_lags(t)) {
        UNROLL for (int r = 0; r < height; ++r) {
            UNROLL for (int c = 0; c < COMMANDS; ++c) {
                sum[r * COMMANDS + c] = rows[r * JACOBIAN_COLUMNS + LAG_SUMS + c];
            }
        }
        return;
    }

    if (l >= INPUT_LAGS) {
        UNROLL for (int q = 0; q < height * COMMANDS; ++q) {
            sum[q] = 0.0f;
        }
        return;
    }
    const float *column = rows + l * COMMANDS;
    UNROLL for (int c = 0; c < COMMANDS; ++c) {
        const float slope = TAIL_CONTINUES ? quadratic_command_slope(plan, i, t - l, c) : 1.0f;
        UNROLL for (int r = 0; r < height; ++r) {
            sum[r * COMMANDS + c] = slope * column[r * JACOBIAN_COLUMNS + c];
        }
    }
    for (++l; l <= oldest && l < INPUT_LAGS; ++l) {
        column += COMMANDS;
        UNROLL for (int c = 0; c < COMMANDS; ++c) {
            const float slope = TAIL_CONTINUES ? quadratic_command_slope(plan, i, t - l, c) : 1.0f;
            UNROLL for (int r = 0; r < height; ++r) {
                sum[r * COMMANDS + c] += slope * column[r * JACOBIAN_COLUMNS + c];
            }
        }
    }
}

/* COMMANDS floats, paired if they are an even number. */
static inline void load_row(const float *x, float row[COMMANDS])
{
    UNROLL for (int c = 0; c < COMMANDS; c += 2) {
        if (COMMANDS % 2 == 0) {
            const pair_t pair = pair_at(x + c);
            row[c] = pair.f[0];
            row[c + 1] = pair.f[1];
        } else {
            row[c] = x[c];
            if (c + 1 < COMMANDS) {
                row[c + 1] = x[c + 1];
            }
        }
    }
}

/* `height` rows of block i at stage t, by the chain rule through the lags and the network's state:
 *
 *   dy_t/du_i = sum_l dfk/du_t-l du_t-l/du_i + sum_l dfk/dy_t-1-l dy_t-1-l/du_i + .. */
static inline void chain(float *sum, int height, const plan_t *plan, const float *rows, int i,
                         int t, const float *past)
{
    const float *column = rows + COMMAND_INPUTS;

    add_commands(sum, height, plan, rows, i, t);
    for (int l = fewer(OUTPUT_LAGS, t - i); l > 0; --l) {
        UNROLL for (int q = 0; q < OUTPUTS; ++q) {
            UNROLL for (int c = 0; c < COMMANDS; ++c) {
                const float s = past[q * COMMANDS + c];
                UNROLL for (int r = 0; r < height; ++r) {
                    sum[r * COMMANDS + c] =
                        mac(column[r * JACOBIAN_COLUMNS + q], s, sum[r * COMMANDS + c]);
                }
            }
        }
        past += BLOCK;
        column += OUTPUTS;
    }
#if NETWORK_STATES > 0
    past -= fewer(OUTPUT_LAGS, t - i) * BLOCK;
    for (int s = 0; s < NETWORK_STATES && t > i; ++s) {
        const float *state = past + (OUTPUTS + s) * COMMANDS;
        const float *by_state = rows + COMMAND_INPUTS + OUTPUT_INPUTS + s;
        UNROLL for (int c = 0; c < COMMANDS; ++c) {
            UNROLL for (int r = 0; r < height; ++r) {
                sum[r * COMMANDS + c] =
                    mac(by_state[r * JACOBIAN_COLUMNS], state[c], sum[r * COMMANDS + c]);
            }
        }
    }
#endif
}

/* Block i at stage t, and its share of the gradient. */
static void propagate(const plan_t *plan, const float *jacobian, int i, int t,
                      sensitivities_t sensitivities, const float slope[OUTPUTS], float *gradient)
{
    float *next = quadratic_block(sensitivities, i, t);
    float sum[OUTPUTS * COMMANDS];

    chain(sum, OUTPUTS, plan, jacobian, i, t, next + BLOCK);
    UNROLL for (int c = 0; c < COMMANDS; ++c) {
        float g = gradient[c];
        UNROLL for (int r = 0; r < OUTPUTS; ++r) {
            g = mac(slope[r], sum[r * COMMANDS + c], g);
            next[r * COMMANDS + c] = sum[r * COMMANDS + c];
        }
        gradient[c] = g;
    }
    for (int s = OUTPUTS; s < JACOBIAN_ROWS; ++s) {
        chain(next + s * COMMANDS, 1, plan, jacobian + s * JACOBIAN_COLUMNS, i, t, next + BLOCK);
    }
}

/* `height` rows and all columns of a block of the Hessian: the sum of s_a' Q s_b over so many
 * rows. */
static inline void sum_tile(const float *a, const float *b, const float *weight, int rows,
                            int height, bool diagonal, float *h, float *mirrored)
{
    float sum[COMMANDS * COMMANDS];

    UNROLL for (int q = 0; q < height * COMMANDS; ++q) {
        sum[q] = 0.0f;
    }
    for (const float *end = weight + rows; weight != end; ++weight) {
        float right[COMMANDS];
        const float w = *weight;
        load_row(b, right);
        UNROLL for (int r = 0; r < height; ++r) {
            const float left = w * (diagonal ? right[r] : a[r]);
            UNROLL for (int c = 0; c < COMMANDS; ++c) {
                if (!diagonal || c <= r) {
                    sum[r * COMMANDS + c] = mac(left, right[c], sum[r * COMMANDS + c]);
                }
            }
        }
        a += COMMANDS;
        b += COMMANDS;
    }
    UNROLL for (int r = 0; r < height; ++r) {
        UNROLL for (int c = 0; c < COMMANDS; ++c) {
            if (!diagonal || c <= r) {
                h[r * LINSOLVE_STRIDE + c] = sum[r * COMMANDS + c];
                mirrored[c * LINSOLVE_STRIDE + r] = sum[r * COMMANDS + c];
            }
        }
    }
}

/* Rows of a tile: as many sums as fit into the registers. */
#define HEIGHT (COMMANDS <= 4 ? COMMANDS : COMMANDS % 3 == 0 ? 3 : COMMANDS % 2 == 0 ? 2 : 1)

static void sum_hessian(sensitivities_t sensitivities, const float *weights, quadratic_t *model)
{
    for (int i = 0; i < CONTROL_HORIZON; ++i) { /* later than the other command of a block */
        const int rows = fewer(HORIZON - FIRST_COST_STAGE + 1, PLANNED - i) * JACOBIAN_ROWS;
        const int w = VARIABLE_OF(i);
        const float *later = quadratic_block(sensitivities, i, PLANNED - 1);
        const float *other = later;
        sum_tile(later, later, weights, rows, COMMANDS, true, &model->hessian[w][w],
                 &model->hessian[w][w]);
        for (int v = w + COMMANDS; v < VARIABLES; v += COMMANDS) {
            other += PLANNED * BLOCK;
            for (int r = 0; r < COMMANDS; r += HEIGHT) {
                sum_tile(other + r, later, weights, rows, HEIGHT, false, &model->hessian[v + r][w],
                         &model->hessian[w][v + r]);
            }
        }
    }
    for (int v = VARIABLES; v < LINSOLVE_STRIDE; ++v) {
        memset(model->hessian[v], 0, sizeof model->hessian[v]);
        model->hessian[v][v] = 1.0f;
        model->gradient[v] = 0.0f;
    }
}

/* u_j of a tail are sums of planned commands; those of a held one are the last of them. */
#define TAIL_WEIGHT(i) ((float)(TAIL_CONTINUES || (i) < CONTROL_HORIZON - 1 ? 1 : TAIL))

/* What the commands cost, and its slope. */
static float command_slopes(const mpc_config_t *config, plan_t *plan, float *gradient)
{
    float cost = 0.0f;

    for (int c = 0; c < COMMANDS; ++c) {
        const float move_weight = config->move_weight[c];
        const float weight = config->command_weight[c];
        const float wanted = config->command_reference[c];
        const float *command = &plan_planned(plan)[c];
        float push = 0.0f; /* of the move after this command */

        UNROLL for (int i = CONTROL_HORIZON - 1; i >= 0; --i, command += COMMANDS) {
            const float distance = command[0] - wanted;
            const float move = command[0] - command[COMMANDS];
            const float pull = TAIL_WEIGHT(i) * weight * distance;
            float g = pull - push;
            push = move_weight * move;
            cost = mac(push, move, mac(pull, distance, cost));
            for (int j = CONTROL_HORIZON; TAIL_CONTINUES && j < PLANNED; ++j) {
                g = mac(weight * quadratic_command_slope(plan, i, j, c),
                        command_of(plan, j)[c] - wanted, g);
            }
            gradient[VARIABLE_OF(i) + c] = g + push;
        }
        for (int j = CONTROL_HORIZON; TAIL_CONTINUES && j < PLANNED; ++j) {
            const float distance = command_of(plan, j)[c] - wanted;
            cost = mac(weight * distance, distance, cost);
        }
    }
    return cost;
}

static void add_command_curvatures(const mpc_config_t *config, plan_t *plan, quadratic_t *model)
{
    for (int c = 0; c < COMMANDS; ++c) {
        const float move_weight = config->move_weight[c];
        const float weight = config->command_weight[c];

        UNROLL for (int i = 0; i < CONTROL_HORIZON; ++i) {
            const int v = VARIABLE_OF(i) + c;
            float own = mac(i < CONTROL_HORIZON - 1 ? 2.0f : 1.0f, move_weight, TINY);
            float coupling = -move_weight;
            own = mac(TAIL_WEIGHT(i), weight, own);
            for (int j = CONTROL_HORIZON; TAIL_CONTINUES && j < PLANNED; ++j) {
                const float slope = weight * quadratic_command_slope(plan, i, j, c);
                own = mac(slope, quadratic_command_slope(plan, i, j, c), own);
                coupling = mac(slope, quadratic_command_slope(plan, i - 1, j, c), coupling);
            }
            model->hessian[v][v] += own;
            if (i > 0) {
                coupling += model->hessian[v + COMMANDS][v];
                model->hessian[v + COMMANDS][v] = coupling;
                model->hessian[v][v + COMMANDS] = coupling;
            }
        }
    }
}

void quadratic_build(const mpc_config_t *config, const float reference[HORIZON][OUTPUTS],
                     network_t *network, plan_t *plan, quadratic_t *model)
{
    sensitivities_t sensitivities PAIRED;
    float weights[PLANNED * JACOBIAN_ROWS]; /* of each row; those of states count nothing */
    float slope[OUTPUTS];
    float cost = command_slopes(config, plan, model->gradient);
#if MPC_METHOD == MPC_GAUSS_NEWTON
    float jacobian[JACOBIAN_ROWS * JACOBIAN_COLUMNS];
#else
    curvature_t curvature;
    cost += curvature_barrier(config, plan, model->gradient);
#endif

    if (NETWORK_STATES > 0) {
        memset(weights, 0, sizeof weights);
    }
    network_rewind(network);
    for (int t = 0; t < PLANNED; ++t) {
        const int j = t + INPUT_DELAY + 1;
#if MPC_METHOD != MPC_GAUSS_NEWTON
        float *jacobian = curvature.jacobians[t];
#endif
        network_lags(network, command_of(plan, t), output_of(plan, j - 1));
        const bool held = holds_all_lags(t);
        network_jacobian(network, output_of(plan, j), jacobian, held ? COMMAND_INPUTS : 0,
                         held ? JACOBIAN_COLUMNS : moving_columns(t));
        UNROLL for (int r = 0; r < OUTPUTS; ++r) {
            slope[r] = 0.0f;
        }
        if (j >= FIRST_COST_STAGE) {
            cost += plan_output_cost(config, reference, plan, j,
                                     weights + (HORIZON - j) * JACOBIAN_ROWS, slope);
        }
        for (int i = 0; i <= t && i < CONTROL_HORIZON; ++i) {
            propagate(plan, jacobian, i, t, sensitivities, slope, model->gradient + VARIABLE_OF(i));
        }
#if MPC_METHOD != MPC_GAUSS_NEWTON
        memcpy(curvature.slopes[t], slope, sizeof slope);
#endif
    }
    plan->cost = cost;
    sum_hessian(sensitivities, weights, model);
    add_command_curvatures(config, plan, model);
#if MPC_METHOD != MPC_GAUSS_NEWTON
    curvature_add(config, network, plan, sensitivities, &curvature, model);
#endif
}
