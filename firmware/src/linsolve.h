/* Linear algebra of the MPC step: small, dense, symmetric, positive definite. */
#ifndef LINSOLVE_H
#define LINSOLVE_H

#include <stdbool.h>

#include "controller_config.h"

/* Unknowns, at most, and floats from row to row of every matrix: even, for blocks of two. */
#define LINSOLVE_SIZE (CONTROL_HORIZON * COMMANDS)
#define LINSOLVE_STRIDE (LINSOLVE_SIZE + LINSOLVE_SIZE % 2)

/* low <= x[first] + x[first - COMMANDS] + x[first - 2 COMMANDS] .. <= high, `count` of them. */
typedef struct {
    int first;
    int count;
    float low;  /* <= 0 */
    float high; /* >= 0: x = 0 is always within */
} linsolve_limit_t;

/* Cholesky: A = L L'. Of `matrix` only the lower half is read; it becomes L, its diagonal 1 / L_ii.
 * False, and the matrix spoilt, if A is not positive definite or not finite. */
bool linsolve_factor(float *matrix, int size);

/* A x = b: `vector` is b on entry, x on return. */
void linsolve_solve(const float *factor, float *vector, int size);

/* The x that minimises g' x + x' A x / 2 within `limits`, from x = -A^-1 g, its free minimum.
 * Goldfarb and Idnani, "A numerically stable dual method for solving strictly convex quadratic
 * programs", 1983: take in the limit that x violates most until it violates none. x may violate some
 * yet if that takes very many changes. */
void linsolve_bound(const float *factor, const linsolve_limit_t *limits, int limit_count, float *x);

#endif
