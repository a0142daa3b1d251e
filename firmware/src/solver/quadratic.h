/* The quadratic: half the cost to second order around a plan. */
#ifndef QUADRATIC_H
#define QUADRATIC_H

#include "solver/linsolve.h"
#include "solver/plan.h"

/* Half the cost of the plan whose variables are moved by z is, to second order,
 *
 *     cost / 2 + gradient' z + z' hessian z / 2.
 *
 * The variables are those of plan_variables: u_Nc-1 first, u_0 last. */
typedef struct {
    float gradient[LINSOLVE_STRIDE];
    float hessian[LINSOLVE_STRIDE][LINSOLVE_STRIDE]; /* symmetric; the identity beyond VARIABLES */
} quadratic_t;

/* Rolls the plan out with its derivatives: sets the plan's outputs and cost, and makes the
 * quadratic, with the second derivatives that MPC_METHOD asks for. */
void quadratic_build(const mpc_config_t *config, const float reference[HORIZON][OUTPUTS],
                     network_t *network, plan_t *plan, quadratic_t *quadratic);

#endif
