/* The second derivatives of the network, which Newton's method takes and Gauss-Newton leaves
 * out. */
#ifndef CURVATURE_H
#define CURVATURE_H

#include "solver/linsolve.h"
#include "solver/sensitivities.h"

#if MPC_METHOD != MPC_GAUSS_NEWTON

/* What the second derivatives need to know of the stages. */
typedef struct {
    float jacobians[REACH][JACOBIAN_ROWS * JACOBIAN_COLUMNS];
    float slopes[REACH][OUTPUTS]; /* half the derivative of the cost by y_d+t+1 */
} curvature_t;

/* Adds half the second derivatives of the cost that Gauss-Newton leaves out to the Hessian:
 * those of the barrier, and as large a share of the network's (1, 1/2, 1/4 or none) as leaves
 * the Hessian positive definite. */
void curvature_add(const mpc_config_t *config, network_t *network, plan_t *plan,
                   sensitivities_t sensitivities, const curvature_t *curvature,
                   float hessian[LINSOLVE_STRIDE][LINSOLVE_STRIDE]);

#endif
#endif
