/* Derivatives of what the network predicts, by the planned commands. */
#ifndef SENSITIVITIES_H
#define SENSITIVITIES_H

#include "solver/plan.h"

/* Block (i, t) holds the derivatives of what stage t hands on, y_d+t+1 and the network's state,
 * by u_i: JACOBIAN_ROWS rows of COMMANDS columns. The blocks of one u_i stand together, the
 * newest stage first, and the last u_i comes first. With CONTROL_HORIZON = 2 and REACH = 3, as
 * (i, t):
 *
 *     (1,2) (1,1) (1,0) | (0,2) (0,1) (0,0)
 *
 * A command has no effect on stages before its own, so block (1,0) is zero, and is neither set
 * nor read. */
#define BLOCK (JACOBIAN_ROWS * COMMANDS)
typedef float sensitivities_t[CONTROL_HORIZON][REACH * BLOCK];

static inline float *sensitivities_block(sensitivities_t sensitivities, int i, int t)
{
    return sensitivities[CONTROL_HORIZON - 1 - i] + (REACH - 1 - t) * BLOCK;
}

/* du_j/du_i of channel c. It is 1 where i is j. In a held tail it is also 1 for the last planned
 * command and each command after it. In a tail that continues, the last two planned commands
 * u_a, u_b move the n-th command after them by -n and n + 1, up to where a bound stops the tail. */
static inline float sensitivities_command_slope(const plan_t *plan, int i, int j, int c)
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

#endif
