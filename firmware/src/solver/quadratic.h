/* The cost to second order around a plan. */
#ifndef QUADRATIC_H
#define QUADRATIC_H

#include "solver/linsolve.h"
#include "solver/plan.h"

/* Half the cost for a step z of u_Nc-1 .. u_0, in this order: cost / 2 + gradient' z + z' hessian z / 2. */
typedef struct {
    float gradient[LINSOLVE_STRIDE];
    float hessian[LINSOLVE_STRIDE][LINSOLVE_STRIDE]; /* symmetric; the identity beyond VARIABLES */
} quadratic_t;

/* Of the variables, those of u_i. */
#define VARIABLE_OF(i) ((CONTROL_HORIZON - 1 - (i)) * COMMANDS)

/* What one stage t = 0 .. P-1 hands to the next ones, y_d+t+1 and the network's state, by u_i:
 * block i is zero before stage i, so there nothing is stored. Newest first, as all that is in
 * time. */
#define BLOCK (JACOBIAN_ROWS * COMMANDS)
typedef float sensitivities_t[CONTROL_HORIZON][PLANNED * BLOCK];

static inline float *quadratic_block(sensitivities_t sensitivities, int i, int t)
{
    return sensitivities[CONTROL_HORIZON - 1 - i] + (PLANNED - 1 - t) * BLOCK;
}

/* du_j/du_i of channel c, which a bound may stop where the tail continues. */
float quadratic_command_slope(const plan_t *plan, int i, int j, int c);

/* Roll the plan out with its derivatives: its cost and, by MPC_METHOD, the model of it. */
void quadratic_build(const mpc_config_t *config, const float reference[HORIZON][OUTPUTS],
                     network_t *network, plan_t *plan, quadratic_t *model);

#endif
