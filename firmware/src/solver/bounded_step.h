/* The bounded step: from a plan to where the quadratic around it is lowest within the hard
 * bounds. */
#ifndef BOUNDED_STEP_H
#define BOUNDED_STEP_H

#include "solver/quadratic.h"

/* Writes the commands of `plan` plus the step to `commands`: VARIABLES floats u_Nc-1 .. u_0, in the
 * order of plan_variables, with u_-1 behind them. They keep all hard bounds but for rounding.
 *
 * `promise` becomes the amount by which half the cost falls along the step, by its slope alone;
 * where that is no more than `enough`, no step from this plan is worth making. False if the
 * quadratic has no finite minimum. */
bool bounded_step_find(const mpc_config_t *config, plan_t *plan, quadratic_t *quadratic,
                       float enough, float *commands, float *promise);

#endif
