/* Gauss-Newton MPC: Soloway and Haley, "Neural generalized predictive control: a Newton-Raphson
 * implementation", 1996, with the exact Jacobian chained through the horizon and without second
 * derivatives of the network. Bounds: what stands on one and is pushed against it is held (Bertsekas,
 * "Projected Newton methods for optimization problems with simple constraints", 1982), and the step
 * is the minimum of the quadratic model within all of them (linsolve_bound), not one cut off there:
 * cut off, a step much longer than the moves allowed need not lower the cost at all.
 *
 * Time runs backwards in every array over the horizon, newest first, the past at the end: the lags
 * that fk wants at any stage are then one contiguous slice, already in its order. */
#include "mpc.h"

#include <string.h>

#include "fk.h"
#include "linsolve.h"

#define VARIABLES LINSOLVE_SIZE
#define COMMAND_INPUTS (INPUT_LAGS * COMMANDS)
#define OUTPUT_INPUTS (OUTPUT_LAGS * OUTPUTS)
#define PLANNED (HORIZON - INPUT_DELAY) /* commands u_0 .. that reach an output in the horizon */
#define COSTED (HORIZON - FIRST_COST_STAGE + 1) /* outputs that the cost counts */

/* A bound counts as reached this near to it, so that steps do not creep up to it (Bertsekas). */
#define BOUND_TOLERANCE 1e-5f
/* Share of the cost that a step must promise: a float sum of squares resolves no less. */
#define COST_TOLERANCE 1e-6f
/* Relative Levenberg-Marquardt term: keeps H positive definite in float for every direction that
 * the outputs hardly feel; too small to slow the others. */
#define DAMPING 1e-5f

#if FK_INPUTS != COMMAND_INPUTS + OUTPUT_INPUTS + SIGNALS || FK_OUTPUTS != OUTPUTS
#error "fk does not have the inputs and outputs that controller_config.h describes"
#endif
#if FK_JACOBIAN_COLUMNS != COMMAND_INPUTS + OUTPUT_INPUTS
#error "fk_jacobian must have the columns of all command and output lags"
#endif
#if CONTROL_HORIZON < 1 || CONTROL_HORIZON > PLANNED
#error "CONTROL_HORIZON must be in 1 .. HORIZON - INPUT_DELAY: later moves reach no output"
#endif
#if FIRST_COST_STAGE <= INPUT_DELAY || FIRST_COST_STAGE > HORIZON
#error "FIRST_COST_STAGE must be in INPUT_DELAY + 1 .. HORIZON"
#endif

/* A plan and what it leads to. */
typedef struct {
    float moves[VARIABLES];                                          /* D_0 .. D_Nc-1 */
    float commands[(PLANNED + INPUT_DELAY + INPUT_LAGS) * COMMANDS]; /* u_N-1-d .. u_0, u_-1 .. */
    float outputs[(HORIZON + OUTPUT_LAGS) * OUTPUTS];                /* y_N .. y_1, y_0 .. */
    int stop[COMMANDS]; /* first j > Nc-1 whose command the bound stops, else PLANNED */
    float cost;
} plan_t;

/* dfk/d(u_j-d .., y_j ..) of the stages j = d .. N-1. */
typedef float jacobians_t[PLANNED][OUTPUTS * FK_JACOBIAN_COLUMNS];

/* dy_N .. y_d+1/dD of each variable, and a row of zeros where their number is odd. */
typedef float sensitivities_t[LINSOLVE_STRIDE][PLANNED * OUTPUTS];

/* Half the cost as a quadratic in a step z of the variables, cost / 2 + g' z + z' H z / 2. The moves
 * change by z, but for those that keep a command on its bound: they take back what reaches it. */
typedef struct {
    float gradient[VARIABLES];
    float hessian[LINSOLVE_STRIDE][LINSOLVE_STRIDE]; /* lower half */
    bool on_bound[VARIABLES]; /* the command after this move stays on its bound: z = 0 */
    int stop[VARIABLES];      /* first j whose command this variable no longer reaches */
} quadratic_t;

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

static float clamp(float value, float low, float high)
{
    return value < low ? low : value > high ? high : value;
}

/* Way to a bound; none beyond it. */
static float room(float distance)
{
    return distance > 0.0f ? distance : 0.0f;
}

static float dot(const float *a, const float *b, int size)
{
    float sum = 0.0f;
    for (int i = 0; i < size; ++i) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* On the bits: a compiler may assume comparisons with NaN away. */
static bool all_finite(const float *values, int size)
{
    bool finite = true;
    for (int i = 0; i < size; ++i) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        finite = finite && (bits & 0x7f800000u) != 0x7f800000u;
    }
    return finite;
}

static bool state_finite(const mpc_state_t *state)
{
    return all_finite(state->commands[0], (INPUT_DELAY + INPUT_LAGS) * COMMANDS) &&
           all_finite(state->outputs[0], OUTPUT_LAGS * OUTPUTS) &&
           all_finite(state->signals, SIGNALS) && all_finite(state->moves[0], VARIABLES);
}

/* Flat input of fk from the newest command and output lag that it sees. */
static void load_lags(float x[FK_INPUTS], const float *commands, const float *outputs)
{
    memcpy(x, commands, COMMAND_INPUTS * sizeof(float));
    memcpy(x + COMMAND_INPUTS, outputs, OUTPUT_INPUTS * sizeof(float));
}

static void load_signals(float x[FK_INPUTS], const mpc_state_t *state)
{
    memcpy(x + COMMAND_INPUTS + OUTPUT_INPUTS, state->signals, SIGNALS * sizeof(float));
}

/* u_j; j < 0 is the past. */
static float *command_of(plan_t *plan, int j)
{
    return plan->commands + (PLANNED - 1 - j) * COMMANDS;
}

/* y_j; j <= 0 is the past. */
static float *output_of(plan_t *plan, int j)
{
    return plan->outputs + (HORIZON - j) * OUTPUTS;
}

/* y_from+1 .. y_to. */
static void predict(plan_t *plan, float x[FK_INPUTS], int from, int to)
{
    for (int j = from; j < to; ++j) {
        load_lags(x, command_of(plan, j - INPUT_DELAY), output_of(plan, j));
        fk_step(x, output_of(plan, j + 1));
    }
}

/* Commands of the plan's moves, both brought within their bounds: a move ends where the bound stops
 * its command. */
static void bound_plan(const mpc_config_t *config, plan_t *plan)
{
    for (int c = 0; c < COMMANDS; ++c) {
        const float low = config->command_min[c];
        const float high = config->command_max[c];
        const float move_max = config->move_max[c];
        float command = command_of(plan, -1)[c];
        float move = 0.0f;

        plan->stop[c] = PLANNED;
        for (int j = 0; j < PLANNED; ++j) {
            const bool planned = j < CONTROL_HORIZON;
            if (planned) {
                move = clamp(plan->moves[j * COMMANDS + c], -move_max, move_max);
            } else if (!TAIL_CONTINUES) {
                move = 0.0f;
            }
            const float wanted = command + move;
            const float bounded = clamp(wanted, low, high);
            if (planned) {
                if (bounded != wanted) {
                    move = clamp(bounded - command, -move_max, move_max);
                }
                plan->moves[j * COMMANDS + c] = move;
            } else if (wanted > high + BOUND_TOLERANCE || wanted < low - BOUND_TOLERANCE) {
                plan->stop[c] = smaller(plan->stop[c], j);
            }
            command = bounded;
            command_of(plan, j)[c] = command;
        }
    }
}

static float cost_of(const mpc_config_t *config, const float reference[HORIZON][OUTPUTS],
                     plan_t *plan)
{
    float cost = 0.0f;
    for (int j = FIRST_COST_STAGE; j <= HORIZON; ++j) {
        const float *y = output_of(plan, j);
        for (int i = 0; i < OUTPUTS; ++i) {
            const float error = y[i] - reference[j - 1][i];
            cost += config->output_weight[i] * error * error;
        }
    }
    for (int v = 0; v < VARIABLES; ++v) {
        cost += config->move_weight[v % COMMANDS] * plan->moves[v] * plan->moves[v];
    }
    return cost;
}

/* Roll the plan out with the derivatives of each stage. */
static void differentiate(plan_t *plan, float x[FK_INPUTS], jacobians_t jacobians)
{
    for (int j = INPUT_DELAY; j < HORIZON; ++j) {
        load_lags(x, command_of(plan, j - INPUT_DELAY), output_of(plan, j));
        fk_jacobian(x, output_of(plan, j + 1), jacobians[j - INPUT_DELAY]);
    }
}

/* sum += factor * column of the Jacobian whose first row is at `column`. */
static inline void add_column(float sum[OUTPUTS], const float *column, float factor)
{
#pragma GCC unroll 8
    for (int r = 0; r < OUTPUTS; ++r) {
        sum[r] += column[r * FK_JACOBIAN_COLUMNS] * factor;
    }
}

/* dy/dD_i of channel c, newest stage first, by the chain rule through the lags,
 *
 *   dy_j+1/dD = sum_l dfk/du_t-l du_t-l/dD + sum_l dfk/dy_j-l dy_j-l/dD      t = j - d,
 *
 * where du_t/dD is 0 before i and from `stop` on, and 1 between (a continued last move: 1, 2, 3 ..).
 * What is zero by structure, y before stage d + 1 + i, is not computed: the row comes zeroed. */
static void sensitivity_of(jacobians_t jacobians, int i, int c, int stop,
                           float sensitivity[PLANNED * OUTPUTS])
{
    const bool continues = TAIL_CONTINUES && i == CONTROL_HORIZON - 1;

    for (int t = i; t < PLANNED; ++t) {
        float *next = sensitivity + (PLANNED - 1 - t) * OUTPUTS;
        const float *past = next + OUTPUTS;
        const int output_lags = smaller(OUTPUT_LAGS, t - i);
        const int first_lag = larger(0, t - stop + 1);
        const int command_lags = smaller(INPUT_LAGS, t - i + 1);
        float sum[OUTPUTS] = {0.0f};

        for (int l = first_lag; l < command_lags; ++l) {
            const float slope = continues ? (float)(t - l - i + 1) : 1.0f;
            add_column(sum, jacobians[t] + l * COMMANDS + c, slope);
        }
        for (int q = 0; q < output_lags * OUTPUTS; ++q) {
            add_column(sum, jacobians[t] + COMMAND_INPUTS + q, past[q]);
        }
        memcpy(next, sum, sizeof sum);
    }
}

/* Residuals, newest first, that the cost counts and the moves D_i reach. */
static int reached(int i)
{
    return smaller(COSTED, PLANNED - i) * OUTPUTS;
}

/* weighted = Q values, for `size` residuals. */
static void weigh(const mpc_config_t *config, const float *values, int size, float *weighted)
{
    for (int q = 0; q < size; q += OUTPUTS) {
        for (int r = 0; r < OUTPUTS; ++r) {
            weighted[q + r] = config->output_weight[r] * values[q + r];
        }
    }
}

/* Does the command after move v stand on a bound against which the gradient pushes it? */
static bool pushed_on_bound(const mpc_config_t *config, plan_t *plan, int v, float gradient)
{
    const int c = v % COMMANDS;
    const float command = command_of(plan, v / COMMANDS)[c];
    const float way =
        gradient < 0.0f ? config->command_max[c] - command : command - config->command_min[c];
    return way <= BOUND_TOLERANCE;
}

/* Sensitivities, g = S' Q e + R D, and the bounds to hold. From the last move back: earlier moves
 * have no effect on a command that stays on its bound, nor on those after it, since the command's
 * own move takes them back, which R counts. */
static void build_gradient(const mpc_config_t *config, const float reference[HORIZON][OUTPUTS],
                           plan_t *plan, jacobians_t jacobians, sensitivities_t sensitivities,
                           quadratic_t *model)
{
    float error[COSTED * OUTPUTS]; /* Q e */
    int stop[COMMANDS];

    for (int j = FIRST_COST_STAGE; j <= HORIZON; ++j) {
        for (int r = 0; r < OUTPUTS; ++r) {
            error[(HORIZON - j) * OUTPUTS + r] = output_of(plan, j)[r] - reference[j - 1][r];
        }
    }
    weigh(config, error, COSTED * OUTPUTS, error);
    memset(sensitivities, 0, sizeof(sensitivities_t));
    memcpy(stop, plan->stop, sizeof stop);
    for (int v = VARIABLES - 1; v >= 0; --v) {
        const int i = v / COMMANDS;
        const int c = v % COMMANDS;
        float move = plan->moves[v];
        if (stop[c] < CONTROL_HORIZON) {
            move -= plan->moves[stop[c] * COMMANDS + c];
        }
        sensitivity_of(jacobians, i, c, stop[c], sensitivities[v]);
        model->gradient[v] =
            dot(error, sensitivities[v], reached(i)) + config->move_weight[c] * move;
        model->stop[v] = stop[c];
        model->on_bound[v] = pushed_on_bound(config, plan, v, model->gradient[v]);
        if (model->on_bound[v]) {
            stop[c] = i;
        }
    }
}

/* h[0..1][0..1] = w[0..1] . s[0..1]: each value loaded serves twice. */
static void dot_2x2(const float *w0, const float *s0, int size, float *h0)
{
    const float *w1 = w0 + PLANNED * OUTPUTS;
    const float *s1 = s0 + PLANNED * OUTPUTS;
    float sum00 = 0.0f, sum01 = 0.0f, sum10 = 0.0f, sum11 = 0.0f;

    for (int q = 0; q < size; ++q) {
        sum00 += w0[q] * s0[q];
        sum01 += w0[q] * s1[q];
        sum10 += w1[q] * s0[q];
        sum11 += w1[q] * s1[q];
    }
    h0[0] = sum00;
    h0[1] = sum01;
    h0[LINSOLVE_STRIDE] = sum10;
    h0[LINSOLVE_STRIDE + 1] = sum11;
}

/* H = S' Q S + R. The row and column of a command that stays on its bound, or of a move without any
 * effect, become zero but for 1 on the diagonal, so that the size of the equations stays. */
static void build_hessian(const mpc_config_t *config, sensitivities_t sensitivities,
                          quadratic_t *model)
{
    float weighted[2][PLANNED * OUTPUTS];

    for (int a = 0; a < VARIABLES; a += 2) {
        const int residuals = reached(a / COMMANDS);
        weigh(config, sensitivities[a], residuals, weighted[0]);
        weigh(config, sensitivities[a + 1], residuals, weighted[1]);
        for (int b = 0; b <= a; b += 2) {
            dot_2x2(weighted[0], sensitivities[b], residuals, &model->hessian[a][b]);
        }
    }
    for (int a = 0; a < VARIABLES; ++a) {
        float *row = model->hessian[a];
        const float move_weight = config->move_weight[a % COMMANDS];

        row[a] += move_weight;
        /* The move that takes back a takes back b as well: R (a + b)^2. */
        for (int b = a; b >= 0 && model->stop[b] < CONTROL_HORIZON; b -= COMMANDS) {
            if (model->stop[b] == model->stop[a]) {
                row[b] += move_weight;
            }
        }
        row[a] += DAMPING * row[a];
        const bool fixed = model->on_bound[a] || !(row[a] > 0.0f);
        for (int b = 0; b < a; ++b) {
            if (fixed || model->on_bound[b]) {
                row[b] = 0.0f;
            }
        }
        if (fixed) {
            row[a] = 1.0f;
            model->gradient[a] = 0.0f;
        }
    }
}

/* Roll the plan out and take its cost to second order, second derivatives of fk left out. */
static void linearise(const mpc_config_t *config, const float reference[HORIZON][OUTPUTS],
                      plan_t *plan, float x[FK_INPUTS], quadratic_t *model)
{
    jacobians_t jacobians;
    sensitivities_t sensitivities;

    differentiate(plan, x, jacobians);
    plan->cost = cost_of(config, reference, plan);
    build_gradient(config, reference, plan, jacobians, sensitivities, model);
    build_hessian(config, sensitivities, model);
}

/* Limits of z: the moves within their bounds, and the commands, each the sum of the moves since the
 * last command that stays on its bound. The move of such a command takes back that sum. */
static int list_limits(const mpc_config_t *config, plan_t *plan, const quadratic_t *model,
                       linsolve_limit_t limits[2 * VARIABLES])
{
    int count = 0;
    int since[COMMANDS] = {0}; /* moves since then */

    for (int v = 0; v < VARIABLES; ++v) {
        const int c = v % COMMANDS;
        const float command = command_of(plan, v / COMMANDS)[c];
        const float down = room(config->move_max[c] + plan->moves[v]);
        const float up = room(config->move_max[c] - plan->moves[v]);

        if (model->on_bound[v]) {
            limits[count++] = (linsolve_limit_t){v - COMMANDS, since[c], -up, down};
            since[c] = 0;
        } else {
            limits[count++] = (linsolve_limit_t){v, 1, -down, up};
            limits[count++] = (linsolve_limit_t){v, ++since[c],
                                                 -room(command - config->command_min[c]),
                                                 room(config->command_max[c] - command)};
        }
    }
    return count;
}

/* The step of the moves that minimises the model within the bounds, and by how much it promises to
 * lower the cost. False if it is not finite. */
static bool newton_step(const mpc_config_t *config, plan_t *plan, quadratic_t *model,
                        float step[VARIABLES], float *promise)
{
    linsolve_limit_t limits[2 * VARIABLES];

    for (int v = 0; v < VARIABLES; ++v) {
        step[v] = -model->gradient[v];
    }
    if (!linsolve_factor(model->hessian[0], VARIABLES)) {
        return false;
    }
    linsolve_solve(model->hessian[0], step, VARIABLES);
    linsolve_bound(model->hessian[0], limits, list_limits(config, plan, model, limits), step);
    *promise = -dot(model->gradient, step, VARIABLES);
    for (int v = 0; v < VARIABLES; ++v) {
        if (!model->on_bound[v] && model->stop[v] < CONTROL_HORIZON) {
            step[model->stop[v] * COMMANDS + v % COMMANDS] -= step[v]; /* taken back */
        }
    }
    return all_finite(step, VARIABLES);
}

/* Backtracking: the longest of the steps 1, 1/2, 1/4 .. that lowers the cost. They end within the
 * bounds; bound_plan makes sure of the last bit, and stops the tail. */
static bool search(const mpc_config_t *config, const float reference[HORIZON][OUTPUTS],
                   plan_t *plan, float x[FK_INPUTS], const float step[VARIABLES], uint8_t *trials)
{
    plan_t trial = *plan;
    float length = 1.0f;

    for (int i = 0; i < LINE_SEARCH_TRIALS; ++i, length *= 0.5f) {
        for (int v = 0; v < VARIABLES; ++v) {
            trial.moves[v] = plan->moves[v] + length * step[v];
        }
        bound_plan(config, &trial);
        predict(&trial, x, INPUT_DELAY, HORIZON);
        trial.cost = cost_of(config, reference, &trial);
        ++*trials;
        if (trial.cost < plan->cost) { /* false for NaN; the cost it started from is finite */
            *plan = trial;
            return true;
        }
    }
    return false;
}

/* The plan that the last sample left, laid out from the present state. */
static void start_plan(const mpc_config_t *config, const mpc_state_t *state, plan_t *plan)
{
    memcpy(plan->moves, state->moves, sizeof plan->moves);
    memcpy(command_of(plan, -1), state->commands, sizeof state->commands);
    memcpy(output_of(plan, 0), state->outputs, sizeof state->outputs);
    bound_plan(config, plan);
}

/* Answer to what cannot be computed: the last command, no plan. */
static void hold_command(const mpc_config_t *config, mpc_state_t *state, mpc_result_t *result)
{
    result->status = MPC_NOT_FINITE;
    result->cost = 0.0f;
    memset(state->moves, 0, sizeof state->moves);
    for (int c = 0; c < COMMANDS; ++c) {
        const float last = all_finite(&state->commands[0][c], 1) ? state->commands[0][c] : 0.0f;
        result->command[c] = clamp(last, config->command_min[c], config->command_max[c]);
    }
}

void mpc_reset(mpc_state_t *state, const float command[COMMANDS], const float output[OUTPUTS])
{
    memset(state, 0, sizeof *state);
    for (int l = 0; l < INPUT_DELAY + INPUT_LAGS; ++l) {
        memcpy(state->commands[l], command, sizeof state->commands[l]);
    }
    for (int l = 0; l < OUTPUT_LAGS; ++l) {
        memcpy(state->outputs[l], output, sizeof state->outputs[l]);
    }
}

mpc_result_t mpc_step(const mpc_config_t *config, mpc_state_t *state,
                      const float reference[HORIZON][OUTPUTS])
{
    mpc_result_t result = {.status = MPC_MAX_ITERATIONS};
    plan_t plan;
    quadratic_t model;
    float step[VARIABLES];
    float promise;
    float x[FK_INPUTS];

    if (!state_finite(state) || !all_finite(reference[0], HORIZON * OUTPUTS)) {
        hold_command(config, state, &result);
        return result;
    }
    load_signals(x, state);
    start_plan(config, state, &plan);
    predict(&plan, x, 0, INPUT_DELAY); /* what is in flight no plan can change */

    while (result.iterations < MPC_ITERATIONS) {
        linearise(config, reference, &plan, x, &model);
        ++result.iterations;
        if (!all_finite(&plan.cost, 1) || !newton_step(config, &plan, &model, step, &promise)) {
            hold_command(config, state, &result);
            return result;
        }
        if (promise <= COST_TOLERANCE * plan.cost) {
            result.status = MPC_CONVERGED;
            break;
        }
        if (!search(config, reference, &plan, x, step, &result.trials)) {
            break;
        }
    }
    result.cost = plan.cost;
    memcpy(result.command, command_of(&plan, 0), sizeof result.command);
    memcpy(state->moves, plan.moves, sizeof state->moves);
    return result;
}

/* Shift rows one older and put `newest` first; it may be the first row itself. */
static void shift_in(float *rows, int count, const float *newest, int width)
{
    memmove(rows + width, rows, (size_t)((count - 1) * width) * sizeof(float));
    memmove(rows, newest, (size_t)width * sizeof(float));
}

bool mpc_advance(mpc_state_t *state, const float command[COMMANDS])
{
    const bool command_finite = all_finite(command, COMMANDS);
    float x[FK_INPUTS];
    float y[OUTPUTS];

    shift_in(state->commands[0], INPUT_DELAY + INPUT_LAGS,
             command_finite ? command : state->commands[0], COMMANDS);
    load_lags(x, state->commands[INPUT_DELAY], state->outputs[0]);
    load_signals(x, state);
    fk_step(x, y);
    const bool output_finite = all_finite(x, FK_INPUTS) && all_finite(y, OUTPUTS);
    shift_in(state->outputs[0], OUTPUT_LAGS, output_finite ? y : state->outputs[0], OUTPUTS);

    memmove(state->moves[0], state->moves[0] + COMMANDS, (VARIABLES - COMMANDS) * sizeof(float));
    if (!TAIL_CONTINUES) {
        memset(state->moves[CONTROL_HORIZON - 1], 0, sizeof state->moves[0]);
    }
    return command_finite && output_finite;
}
