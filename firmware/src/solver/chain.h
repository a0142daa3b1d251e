/* The chain rule through the network's Jacobian: how a stage's outputs move by the commands. */
#ifndef CHAIN_H
#define CHAIN_H

#include "solver/sensitivities.h"

/* The tail follows from the last planned command, or, if it continues, from the last two: u_i moves
 * the tail if i is at least FIRST_TAIL_COMMAND. */
#define FIRST_TAIL_COMMAND (CONTROL_HORIZON - 1 - TAIL_CONTINUES)

/* Are all commands that fk sees at stage t the last planned one, which is held? */
static inline bool holds_all_lags(int t)
{
    return HAS_LAG_SUMS && !TAIL_CONTINUES && t >= CONTROL_HORIZON + INPUT_LAGS - 2;
}

/* How many columns of the Jacobian, from the first, can be other than the past at stage t. At the
 * first stage only the newest command has been planned, and no output lag depends on it yet. */
static inline int moving_columns(int t)
{
    return t == 0               ? COMMANDS
           : NETWORK_STATES > 0 ? LAG_SUMS
                                : COMMAND_INPUTS + fewer(t, OUTPUT_LAGS) * OUTPUTS;
}

/* The commands' share of dy/du_i at stage t: `sum` = the sum of dfk/du_t-l du_t-l/du_i over the
 * lags l, for `height` rows of the Jacobian that begin at `rows`. */
static inline void add_commands(float *sum, int height, const plan_t *plan, const float *rows,
                                int i, int t)
{
    const int oldest = t - i;
    int l = i >= FIRST_TAIL_COMMAND ? 0 : oldest;

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
        const float slope = TAIL_CONTINUES ? sensitivities_command_slope(plan, i, t - l, c) : 1.0f;
        UNROLL for (int r = 0; r < height; ++r) {
            sum[r * COMMANDS + c] = slope * column[r * JACOBIAN_COLUMNS + c];
        }
    }
    for (++l; l <= oldest && l < INPUT_LAGS; ++l) {
        column += COMMANDS;
        UNROLL for (int c = 0; c < COMMANDS; ++c) {
            const float slope =
                TAIL_CONTINUES ? sensitivities_command_slope(plan, i, t - l, c) : 1.0f;
            UNROLL for (int r = 0; r < height; ++r) {
                sum[r * COMMANDS + c] += slope * column[r * JACOBIAN_COLUMNS + c];
            }
        }
    }
}

/* `height` rows of block i at stage t (sensitivities.h), by the chain rule through the command
 * lags, the output lags and, likewise, the network's state:
 *
 *     dy_t/du_i = sum_l dfk/du_t-l du_t-l/du_i + sum_l dfk/dy_t-1-l dy_t-1-l/du_i
 *
 * `past` is block i of stage t - 1; those of earlier stages stand behind it. */
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

#endif
