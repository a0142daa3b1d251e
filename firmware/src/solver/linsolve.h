/* Linear equations of the bounded step: dense, symmetric, positive definite. */
#ifndef LINSOLVE_H
#define LINSOLVE_H

#include <stdbool.h>

#include "controller_config.h"

/* Matrices are worked in square tiles of LINSOLVE_TILE rows, so that all sums of a tile stay in
 * the 32 float registers of the Cortex-M4F. Where the number of unknowns is no multiple of the
 * tile, the matrix is padded with rows and columns of the identity: 7 unknowns in tiles of 2
 * make a LINSOLVE_STRIDE of 8.
 *
 * Measured for 12 unknowns (bench/solver.py, published HASEL network, N/Nc 5/2, one iteration):
 * 19,885 instructions with tiles of 6, 20,100 with tiles of 4, 20,328 with tiles of 3. */
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

/* Cholesky's factorisation from the last row up: A = L' L with L lower triangular. Each diagonal
 * element of A is taken a little larger than it is (DAMPING in linsolve.c): in float, A then
 * counts as positive definite in directions that have almost no effect, and a direction without
 * any effect gets a solution of 0.
 *
 * Only the lower half of `matrix` is read. The lower half of `factor` becomes L, but with 1 /
 * L_ii on the diagonal. The two arrays may be the same. False if A is not positive definite or
 * not finite; the factor is then of no use. */
bool linsolve_factor(float matrix[LINSOLVE_STRIDE][LINSOLVE_STRIDE],
                     float factor[LINSOLVE_STRIDE][LINSOLVE_STRIDE]);

/* Solves L' y = b: `vector` is b before the call and y after it. L x = y then gives A x = b, and
 * its first row x_0 first (bounded_step.c, substitute). */
void linsolve_backward(float factor[LINSOLVE_STRIDE][LINSOLVE_STRIDE],
                       float vector[LINSOLVE_STRIDE]);

#endif
