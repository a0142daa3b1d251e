/* What Newton's model of the cost has and Gauss-Newton's has not: second derivatives of the
 * network, and the barrier of MPC_SOLOWAY. */
#ifndef CURVATURE_H
#define CURVATURE_H

#include "solver/quadratic.h"

#if MPC_METHOD != MPC_GAUSS_NEWTON

typedef struct {
    float jacobians[PLANNED][JACOBIAN_ROWS * JACOBIAN_COLUMNS]; /* of each stage */
    float slopes[PLANNED][OUTPUTS];                             /* half the cost by each y_d+t+1 */
} curvature_t;

/* Half the barrier's slope by the planned commands is added to the gradient; its cost. */
float curvature_barrier(const mpc_config_t *config, plan_t *plan, float *gradient);

/* Add the second derivatives to model->hessian, as much of them as leaves it positive definite. */
void curvature_add(const mpc_config_t *config, network_t *network, plan_t *plan,
                   sensitivities_t sensitivities, const curvature_t *curvature, quadratic_t *model);

#endif
#endif
