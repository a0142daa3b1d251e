/* Newton-Raphson model-predictive control on the generated forward kinematics fk: one call a
 * sample. No memory outlives a call but mpc_state_t. */
#ifndef MPC_H
#define MPC_H

#include "solver/problem.h"

typedef enum {
    MPC_CONVERGED,          /* no bounded step promises to lower the cost by a millionth */
    MPC_MAX_ITERATIONS,     /* iterations used up, or no lower cost along the bounded step */
    MPC_NOT_FINITE,         /* NaN, infinity or overflow: the last command is held */
    MPC_DEADLINE,           /* out of time */
    MPC_INFEASIBLE_PROBLEM, /* no command is within the bounds: the last one, as near as it gets */
} mpc_status_t;

/* The time that mpc_step may take. now() counts up and may wrap. A step that has used `budget`
 * ticks ends with the best plan that it has. An iteration begins only if it would end in time,
 * were it as long as the longest one before it. */
typedef struct {
    uint32_t (*now)(void *context);
    void *context;
    uint32_t budget;
} mpc_clock_t;

typedef struct {
    mpc_status_t status;
    uint8_t iterations;      /* linearisations made */
    uint8_t trials;          /* plans tried by the line searches of all iterations */
    float cost;              /* cost of the plan; 0 if it is not known */
    float command[COMMANDS]; /* u(k), within its bounds, finite */
} mpc_result_t;

/* Rest at `command` and `output`: all lags and slow means equal, signals zero, the plan to stay. */
void mpc_reset(mpc_state_t *state, const float command[COMMANDS], const float output[OUTPUTS]);

/* Improve the plan of `state` from sample k and return its first command u(k).
 * reference[j] is the wanted output of sample k+j+1; those before FIRST_COST_STAGE are not read.
 * `clock` may be NULL: no deadline. */
mpc_result_t mpc_step(const mpc_config_t *config, mpc_state_t *state,
                      const float reference[HORIZON][OUTPUTS], const mpc_clock_t *clock);

/* Apply u(k): shift it into the lags, predict y(k+1) with the signals of sample k, shift the warm
 * start. False if the command or the prediction is not finite; its predecessor then stands in for
 * it, so that one bad sample passes. */
bool mpc_advance(mpc_state_t *state, const float command[COMMANDS]);

/* The plan becomes to stay at the command that was applied last: where somebody else has found it,
 * the next step begins from there. */
void mpc_plan_anew(mpc_state_t *state);

#endif
