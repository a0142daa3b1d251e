/* The step of a plan: where the quadratic model of its cost is lowest within the bounds. */
#ifndef STEP_H
#define STEP_H

#include "solver/quadratic.h"

/* To `commands`, u_Nc-1 .. u_0, as plan_planned has them and with u_-1 behind them, from those of
 * `plan`. They keep all hard bounds but for rounding. `promise`: by how much half the model falls,
 * to first order; no more than `enough` if nothing better is found. False if the model has no
 * finite minimum. */
bool step_find(const mpc_config_t *config, plan_t *plan, quadratic_t *model, float enough,
               float *commands, float *promise);

#endif
