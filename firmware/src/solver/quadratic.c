/* GCC's first scheduling pass moves the sums of a tile so far apart that they no longer fit into
 * the registers. Measured as in linsolve.h: 19,885 instructions without it, 20,004 with it. */
#ifdef __GNUC__
#pragma GCC optimize("no-schedule-insns")
#endif
#include "solver/quadratic.h"

#include "solver/barrier.h"
#include "solver/chain.h"
#include "solver/curvature.h"
#include "solver/directions.h"
#include "solver/sensitivities.h"

/* Added to the diagonal: a command without any effect then has a curvature to divide by. */
#define TINY 1e-30f

/* Loads COMMANDS floats, two at once if their number is even. */
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

/* As sensitivities_t, but of the robot's outputs z, which have the cost: OUTPUTS rows a block.
 * They take the place of those of y once nobody reads these any more, where both are as large. */
#define COST_BLOCK (OUTPUTS * COMMANDS)
#define IN_PLACE (NETWORK_STATES == 0 && !PUSHES && MPC_METHOD == MPC_GAUSS_NEWTON)
typedef float cost_sensitivities_t[CONTROL_HORIZON][REACH * COST_BLOCK];

static inline float *cost_block(cost_sensitivities_t costs, int i, int t)
{
    return costs[CONTROL_HORIZON - 1 - i] + (REACH - 1 - t) * COST_BLOCK;
}

/* dz/du = gain dy/du, which may stand in one place. */
static inline void see_robot(const mpc_config_t *config, const float *by_network, float *by_robot)
{
    for (int c = 0; c < COMMANDS; ++c) {
        float column[OUTPUTS];
        UNROLL for (int q = 0; q < OUTPUTS; ++q) {
            column[q] = by_network[q * COMMANDS + c];
        }
        UNROLL for (int r = 0; r < OUTPUTS; ++r) {
            float sum = config->output_gain[r][0] * column[0];
            UNROLL for (int q = 1; q < OUTPUTS; ++q) {
                sum = mac(config->output_gain[r][q], column[q], sum);
            }
            by_robot[r * COMMANDS + c] = sum;
        }
    }
}

#if IN_PLACE
/* Of all blocks at once. */
static void see_robot_in_place(const mpc_config_t *config, cost_sensitivities_t costs)
{
    for (int i = 0; i < CONTROL_HORIZON; ++i) {
        const float *const end = cost_block(costs, i, i) + COST_BLOCK;
        for (float *block = cost_block(costs, i, REACH - 1); block != end; block += COST_BLOCK) {
            see_robot(config, block, block);
        }
    }
}
#endif

/* The derivative by y that follows from that by z. */
static inline void see_network(const mpc_config_t *config, const float by_robot[OUTPUTS],
                               float by_network[OUTPUTS])
{
    UNROLL for (int q = 0; q < OUTPUTS; ++q) {
        by_network[q] = config->output_gain[0][q] * by_robot[0];
        UNROLL for (int r = 1; r < OUTPUTS; ++r) {
            by_network[q] = mac(config->output_gain[r][q], by_robot[r], by_network[q]);
        }
    }
}

#if PUSHES
/* Takes block i of a stage from the directions that were pushed through the network, and adds its
 * share to the gradient by u_i. */
static void take(const mpc_config_t *config, directions_t *directions, int i, float *by_robot,
                 const float slope[OUTPUTS], float *gradient)
{
    float block[OUTPUTS * COMMANDS];

    for (int r = 0; r < OUTPUTS; ++r) {
        const float *moved = directions->outputs + r * FK_PUSH_STRIDE + i * COMMANDS;
        UNROLL for (int c = 0; c < COMMANDS; ++c) {
            block[r * COMMANDS + c] = moved[c];
            gradient[c] = mac(slope[r], moved[c], gradient[c]);
        }
    }
    see_robot(config, block, by_robot);
}
#else
/* Makes block i of stage t, and adds its share to the gradient by u_i. */
static void propagate(const mpc_config_t *config, const plan_t *plan, const float *jacobian, int i,
                      int t, sensitivities_t sensitivities, float *by_robot,
                      const float slope[OUTPUTS], float *gradient)
{
    float *next = sensitivities_block(sensitivities, i, t);
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
    if (by_robot != NULL) {
        see_robot(config, sum, by_robot);
    }
    for (int s = OUTPUTS; s < JACOBIAN_ROWS; ++s) {
        chain(next + s * COMMANDS, 1, plan, jacobian + s * JACOBIAN_COLUMNS, i, t, next + BLOCK);
    }
}
#endif

/* One tile of the Hessian, `height` rows and COMMANDS columns: the sum of weight a' b over
 * `rows` rows of the blocks a and b. It is written to h and, transposed, to `mirrored`. On the
 * diagonal of the Hessian a is b, and the half above the diagonal is left out. */
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

/* Rows of a tile: its HEIGHT * COMMANDS sums and a row of either block fit into 32 registers.
 * Measured as in linsolve.h, with six commands: 19,885 instructions with three rows, 19,988 with
 * two, 20,040 with six. */
#define HEIGHT (COMMANDS <= 4 ? COMMANDS : COMMANDS % 3 == 0 ? 3 : COMMANDS % 2 == 0 ? 2 : 1)

static void sum_hessian(cost_sensitivities_t costs, const float *weights, quadratic_t *quadratic)
{
    for (int i = 0; i < CONTROL_HORIZON; ++i) { /* u_i is the later command of each tile */
        const int rows = fewer(HORIZON - FIRST_COST_STAGE + 1, REACH - i) * OUTPUTS;
        const int w = VARIABLE_OF(i);
        const float *later = cost_block(costs, i, REACH - 1);
        sum_tile(later, later, weights, rows, COMMANDS, true, &quadratic->hessian[w][w],
                 &quadratic->hessian[w][w]);
        for (int v = w + COMMANDS; v < VARIABLES; v += COMMANDS) {
            const float *other = costs[v / COMMANDS];
            for (int r = 0; r < COMMANDS; r += HEIGHT) {
                sum_tile(other + r, later, weights, rows, HEIGHT, false,
                         &quadratic->hessian[v + r][w], &quadratic->hessian[w][v + r]);
            }
        }
    }
    for (int v = VARIABLES; v < LINSOLVE_STRIDE; ++v) {
        memset(quadratic->hessian[v], 0, sizeof quadratic->hessian[v]);
        quadratic->hessian[v][v] = 1.0f;
        quadratic->gradient[v] = 0.0f;
    }
}

/* How often u_i counts in the cost of the commands: in a held tail the last planned command
 * stands for TAIL commands. A tail that continues is counted command by command instead. */
#define TAIL_WEIGHT(i) ((float)(TAIL_CONTINUES || (i) < CONTROL_HORIZON - 1 ? 1 : TAIL))

/* Returns what the commands cost, and sets `gradient` to half its slope. */
static float command_slopes(const mpc_config_t *config, plan_t *plan, float *gradient)
{
    float cost = 0.0f;

    for (int c = 0; c < COMMANDS; ++c) {
        const float move_weight = config->move_weight[c];
        const float weight = config->command_weight[c];
        const float wanted = config->command_reference[c];
        const float *command = &plan_variables(plan)[c];
        float push = 0.0f; /* half the slope of the cost of the move after this command */

        UNROLL for (int i = CONTROL_HORIZON - 1; i >= 0; --i, command += COMMANDS) {
            const float distance = command[0] - wanted;
            const float move = command[0] - command[COMMANDS];
            const float pull = TAIL_WEIGHT(i) * weight * distance;
            float g = pull - push;
            push = move_weight * move;
            cost = mac(push, move, mac(pull, distance, cost));
            for (int j = CONTROL_HORIZON; TAIL_CONTINUES && j < REACH; ++j) {
                g = mac(weight * sensitivities_command_slope(plan, i, j, c),
                        command_of(plan, j)[c] - wanted, g);
            }
            gradient[VARIABLE_OF(i) + c] = g + push;
        }
        for (int j = CONTROL_HORIZON; TAIL_CONTINUES && j < REACH; ++j) {
            const float distance = command_of(plan, j)[c] - wanted;
            cost = mac(weight * distance, distance, cost);
        }
    }
    return cost;
}

static void add_command_curvatures(const mpc_config_t *config, plan_t *plan, quadratic_t *quadratic)
{
    for (int c = 0; c < COMMANDS; ++c) {
        const float move_weight = config->move_weight[c];
        const float weight = config->command_weight[c];

        UNROLL for (int i = 0; i < CONTROL_HORIZON; ++i) {
            const int v = VARIABLE_OF(i) + c;
            float own = mac(i < CONTROL_HORIZON - 1 ? 2.0f : 1.0f, move_weight, TINY);
            float coupling = -move_weight;
            own = mac(TAIL_WEIGHT(i), weight, own);
            for (int j = CONTROL_HORIZON; TAIL_CONTINUES && j < REACH; ++j) {
                const float slope = weight * sensitivities_command_slope(plan, i, j, c);
                own = mac(slope, sensitivities_command_slope(plan, i, j, c), own);
                coupling = mac(slope, sensitivities_command_slope(plan, i - 1, j, c), coupling);
            }
            quadratic->hessian[v][v] += own;
            if (i > 0) {
                coupling += quadratic->hessian[v + COMMANDS][v];
                quadratic->hessian[v + COMMANDS][v] = coupling;
                quadratic->hessian[v][v + COMMANDS] = coupling;
            }
        }
    }
}

void quadratic_build(const mpc_config_t *config, const float reference[HORIZON][OUTPUTS],
                     network_t *network, plan_t *plan, quadratic_t *quadratic)
{
    float weights[REACH * OUTPUTS]; /* one for each row of the blocks */
    float by_robot[OUTPUTS];        /* half the derivative of the cost of a stage by z, */
    float slope[OUTPUTS];           /* and by y */
    float cost = command_slopes(config, plan, quadratic->gradient);
#if PUSHES
    /* Tens of kilobytes, which are not for the stack: nothing in it outlives a call. */
    static directions_t directions PAIRED;
    directions_begin(&directions);
#elif MPC_METHOD == MPC_GAUSS_NEWTON
    sensitivities_t sensitivities PAIRED;
    float jacobian[JACOBIAN_ROWS * JACOBIAN_COLUMNS];
#else
    sensitivities_t sensitivities PAIRED;
    curvature_t curvature;
    cost += barrier_add(config, plan_variables(plan), quadratic->gradient);
#endif
#if IN_PLACE
    float (*const costs)[REACH * COST_BLOCK] = sensitivities;
#else
    cost_sensitivities_t costs PAIRED;
#endif

    network_rewind(network);
    for (int t = 0; t < REACH; ++t) {
        const int j = t + INPUT_DELAY + 1;
#if MPC_METHOD != MPC_GAUSS_NEWTON
        float *jacobian = curvature.jacobians[t];
#endif
        network_lags(network, command_of(plan, t), output_of(plan, j - 1));
#if PUSHES
        directions_push(&directions, network, plan, t, output_of(plan, j));
#else
        const bool held = holds_all_lags(t);
        network_jacobian(network, output_of(plan, j), jacobian, held ? COMMAND_INPUTS : 0,
                         held ? JACOBIAN_COLUMNS : moving_columns(t));
#endif
        UNROLL for (int r = 0; r < OUTPUTS; ++r) {
            slope[r] = 0.0f;
        }
        if (j >= FIRST_COST_STAGE) {
            cost += plan_output_cost(config, reference, plan, j,
                                     weights + (HORIZON - j) * OUTPUTS, by_robot);
            if (plan->as_recorded) {
                memcpy(slope, by_robot, sizeof slope);
            } else {
                see_network(config, by_robot, slope);
            }
        }
        for (int i = 0; i <= t && i < CONTROL_HORIZON; ++i) {
#if PUSHES
            take(config, &directions, i, cost_block(costs, i, t), slope,
                 quadratic->gradient + VARIABLE_OF(i));
#else
            propagate(config, plan, jacobian, i, t, sensitivities,
                      IN_PLACE ? NULL : cost_block(costs, i, t), slope,
                      quadratic->gradient + VARIABLE_OF(i));
#endif
        }
#if MPC_METHOD != MPC_GAUSS_NEWTON
        memcpy(curvature.slopes[t], slope, sizeof slope);
#endif
    }
    plan->cost = cost;
#if IN_PLACE
    if (!plan->as_recorded) {
        see_robot_in_place(config, costs);
    }
#endif
    sum_hessian(costs, weights, quadratic);
    add_command_curvatures(config, plan, quadratic);
#if MPC_METHOD != MPC_GAUSS_NEWTON
    curvature_add(config, network, plan, sensitivities, &curvature, quadratic->hessian);
#endif
}
