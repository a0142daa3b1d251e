/* A network as nn4mc generates it, but of any size and with weights that are set: one hidden layer in
 * increment form, with STATES of its own,
 *
 *   z = tanh(A [x, h] + a)    y = y_0 + B z + b    h' = the rest of B z + b
 *
 * With FOLD also the signals folded, the sums over the command lags, and a range of columns: what is
 * outside it is NaN. With PUSH directions are pushed through it; columns beyond them
 * up to the next multiple of four become zero. */
#ifndef FK_H
#define FK_H

#include "controller_config.h"

#ifndef MEMORIES
#define MEMORIES 0
#endif
#define LAG_INPUTS (INPUT_LAGS * COMMANDS + OUTPUT_LAGS * OUTPUTS)
#define FK_INPUTS (LAG_INPUTS + SIGNALS + MEMORIES)
#define FK_OUTPUTS OUTPUTS
#define COLUMNS (LAG_INPUTS + STATES)
#define HIDDEN 8
#define HANDED (OUTPUTS + STATES)
#if STATES > 0
#define FK_STATES STATES
typedef struct { float value[STATES]; } fk_state;
#define FK_STATE fk_state *state,
#define FK_SAME_STATE const fk_state *state,
#else
#define FK_STATE
#define FK_SAME_STATE
#endif
typedef struct {
    float a_matrix[HIDDEN][FK_INPUTS + STATES], a[HIDDEN], b_matrix[HANDED][HIDDEN], b[HANDED];
} weights_t;
extern weights_t weights;
#if FOLD
#define FK_FOLDED HIDDEN
#define FK_JACOBIAN_RANGE
#define FK_JACOBIAN_COLUMNS (COLUMNS + COMMANDS)
#define COLUMN_RANGE , int first, int past
#else
#define FK_JACOBIAN_COLUMNS COLUMNS
#define COLUMN_RANGE
#endif
#if FOLD
void fk_fold(const float *x, float *folded);
void fk_step_folded(FK_STATE const float *folded, const float *x, float *y);
void fk_jacobian_folded(FK_STATE const float *folded, const float *x, float *y, float *jacobian COLUMN_RANGE);
#endif
void fk_step(FK_STATE const float *x, float *y);
void fk_jacobian(FK_STATE const float *x, float *y, float *jacobian COLUMN_RANGE);
#if PUSH
#define FK_PUSH_DIRECTIONS (CONTROL_HORIZON * COMMANDS)
#define FK_PUSH_STRIDE ((FK_PUSH_DIRECTIONS + 3) / 4 * 4)
#if STATES > 0
void fk_push(FK_STATE const float *x, float *y, const float *dx, const float *dstate, float *dy, float *dnext,
             int directions, int carried);
#else
void fk_push(const float *x, float *y, const float *dx, float *dy, int directions);
#endif
#endif
void fk_hvp(FK_SAME_STATE const float *x, const float *v, const float *t, float *h);
#endif
