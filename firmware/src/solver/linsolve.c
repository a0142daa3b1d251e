#include "solver/linsolve.h"

#include "solver/number.h"

#define TILE LINSOLVE_TILE
#define STRIDE LINSOLVE_STRIDE

/* The Levenberg-Marquardt term: each diagonal element grows by this share, which is too small to
 * shorten the step in directions that matter. */
#define DAMPING 1e-5f
#define TINY 1e-30f

/* Tile (j, j), on the diagonal: takes off the products of the finished rows below it, then
 * replaces the rest by its own factor. `faults` becomes NaN if a pivot is not positive or not
 * finite.
 *
 *     a        Six rows in tiles of 3 are done in the order d, c, a: first d, the last one on the
 *     c d      diagonal, then c, which is left of it, then a, which needs c. */
static inline void factor_diagonal(float matrix[STRIDE][STRIDE], float factor[STRIDE][STRIDE],
                                   int j, float *faults)
{
    float tile[TILE][TILE];

    UNROLL for (int r = 0; r < TILE; ++r) {
        UNROLL for (int c = 0; c < r; ++c) {
            tile[r][c] = matrix[j + r][j + c];
        }
        tile[r][r] = mac(matrix[j + r][j + r], 1.0f + DAMPING, TINY);
    }
    for (int below = j + TILE; below < STRIDE; ++below) {
        const float *row = factor[below] + j;
        UNROLL for (int r = 0; r < TILE; ++r) {
            UNROLL for (int c = 0; c <= r; ++c) {
                tile[r][c] = mac(-row[r], row[c], tile[r][c]);
            }
        }
    }
    UNROLL for (int r = TILE - 1; r >= 0; --r) {
        UNROLL for (int q = r + 1; q < TILE; ++q) {
            UNROLL for (int c = 0; c <= r; ++c) {
                tile[r][c] = mac(-tile[q][r], tile[q][c], tile[r][c]);
            }
        }
        const float pivot = tile[r][r];
        const float inverse = 1.0f / sqrtf(pivot);
        *faults = mac(pivot, 0.0f, mac(inverse, 0.0f, *faults));
        factor[j + r][j + r] = inverse;
        UNROLL for (int c = 0; c < r; ++c) {
            tile[r][c] *= inverse;
            factor[j + r][j + c] = tile[r][c];
        }
    }
}

/* Columns i .. i + WIDTH - 1 of the rows j .. j + TILE - 1, left of tile (j, j): takes off the
 * products of the finished rows below, then multiplies by the inverse of the transposed factor
 * of (j, j). A tile of 6 by 6 sums does not fit into 32 registers, so its columns are done three
 * at a time. Measured as in linsolve.h: 19,885 instructions and 16,140 bytes; all six at a time
 * 19,871 and 16,444, which is more than the 16 kB that solver and network may take; two at a
 * time 19,948. */
#if LINSOLVE_TILE == 6
#define WIDTH 3
#else
#define WIDTH TILE
#endif
static inline void factor_left(float matrix[STRIDE][STRIDE], float factor[STRIDE][STRIDE], int j,
                               int i)
{
    float tile[TILE][WIDTH];

    UNROLL for (int r = 0; r < TILE; ++r) {
        UNROLL for (int c = 0; c < WIDTH; ++c) {
            tile[r][c] = matrix[j + r][i + c];
        }
    }
    for (int below = j + TILE; below < STRIDE; ++below) {
        const float *right = factor[below] + j;
        const float *left = factor[below] + i;
        UNROLL for (int r = 0; r < TILE; ++r) {
            UNROLL for (int c = 0; c < WIDTH; ++c) {
                tile[r][c] = mac(-right[r], left[c], tile[r][c]);
            }
        }
    }
    UNROLL for (int r = TILE - 1; r >= 0; --r) {
        UNROLL for (int q = r + 1; q < TILE; ++q) {
            UNROLL for (int c = 0; c < WIDTH; ++c) {
                tile[r][c] = mac(-factor[j + q][j + r], tile[q][c], tile[r][c]);
            }
        }
        UNROLL for (int c = 0; c < WIDTH; ++c) {
            tile[r][c] *= factor[j + r][j + r];
            factor[j + r][i + c] = tile[r][c];
        }
    }
}

bool linsolve_factor(float matrix[STRIDE][STRIDE], float factor[STRIDE][STRIDE])
{
    float faults = 0.0f;

    for (int j = STRIDE - TILE; j >= 0; j -= TILE) {
        factor_diagonal(matrix, factor, j, &faults);
        for (int i = j - WIDTH; i >= 0; i -= WIDTH) {
            factor_left(matrix, factor, j, i);
        }
    }
    return is_finite(faults);
}

void linsolve_backward(float factor[STRIDE][STRIDE], float vector[STRIDE])
{
    for (int i = STRIDE - TILE; i >= 0; i -= TILE) {
        const float *row = factor[i];
        float y[TILE];
        UNROLL for (int r = TILE - 1; r >= 0; --r) {
            y[r] = vector[i + r];
            UNROLL for (int q = r + 1; q < TILE; ++q) {
                y[r] = mac(-row[q * STRIDE + i + r], y[q], y[r]);
            }
            y[r] *= row[r * STRIDE + i + r];
            vector[i + r] = y[r];
        }
        for (float *b = vector; b != vector + i; ++b, ++row) {
            float left = *b;
            UNROLL for (int r = 0; r < TILE; ++r) {
                left = mac(-row[r * STRIDE], y[r], left);
            }
            *b = left;
        }
    }
}
