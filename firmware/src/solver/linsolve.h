/* Linear algebra of the MPC step: dense, symmetric, positive definite. */
#ifndef LINSOLVE_H
#define LINSOLVE_H

#include <stdbool.h>

#include "controller_config.h"

/* Unknowns. Matrices are worked in square tiles, whose sums fill the registers: rows of the last
 * one that have no unknown are those of the identity. */
#define LINSOLVE_SIZE (CONTROL_HORIZON * COMMANDS)
#if CONTROL_HORIZON * COMMANDS <= 6
#define LINSOLVE_TILE (CONTROL_HORIZON * COMMANDS)
#elif CONTROL_HORIZON * COMMANDS == 12
#define LINSOLVE_TILE 6
#elif CONTROL_HORIZON * COMMANDS % 5 == 0
#define LINSOLVE_TILE 5
#elif CONTROL_HORIZON * COMMANDS % 4 == 0
#define LINSOLVE_TILE 4
#elif CONTROL_HORIZON * COMMANDS % 3 == 0
#define LINSOLVE_TILE 3
#else
#define LINSOLVE_TILE 2
#endif
#define LINSOLVE_STRIDE ((LINSOLVE_SIZE + LINSOLVE_TILE - 1) / LINSOLVE_TILE * LINSOLVE_TILE)

/* Cholesky from the last row up: A = L' L, each diagonal element of A a little larger, so that
 * float finds A positive definite in directions that have almost no effect, and a direction without
 * any effect stays put. Of `matrix` only the lower half is read; that of `factor` becomes L, its diagonal 1 /
 * L_ii. They may be the same. False, and the factor spoilt, if A is not positive definite or not
 * finite. */
bool linsolve_factor(float matrix[LINSOLVE_STRIDE][LINSOLVE_STRIDE],
                     float factor[LINSOLVE_STRIDE][LINSOLVE_STRIDE]);

/* L' y = b: `vector` is b on entry, y on return. With L x = y then A x = b. */
void linsolve_backward(float factor[LINSOLVE_STRIDE][LINSOLVE_STRIDE],
                       float vector[LINSOLVE_STRIDE]);

#endif
