/* The barrier of Soloway and Haley's cost, which keeps commands off their bounds: MPC_SOLOWAY alone
 * has one. */
#ifndef BARRIER_H
#define BARRIER_H

#include "solver/problem.h"

#if MPC_METHOD != MPC_GAUSS_NEWTON

/* Returns the barrier's cost at the planned commands, `variables`, and adds half its slope to
 * `gradient`; both are in the order of plan_variables. Without a barrier the cost is 0. */
float barrier_add(const mpc_config_t *config, const float *variables, float *gradient);

/* Half the second derivative of the barrier's cost by variable v. */
float barrier_curvature(const mpc_config_t *config, const float *variables, int v);

#endif
#endif
