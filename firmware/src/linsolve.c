#include "linsolve.h"

#include <float.h>

#include "number.h"

#define TILE LINSOLVE_TILE
#define STRIDE LINSOLVE_STRIDE

/* Relative Levenberg-Marquardt term, too small to slow the directions that matter. */
#define DAMPING 1e-5f
#define TINY 1e-30f

/* The diagonal tile, which comes less the products of the columns before it, to its own factor. */
static bool factor_tile(float tile[TILE][TILE])
{
    bool good = true;
    UNROLL for (int c = 0; c < TILE; ++c) {
        UNROLL for (int k = 0; k < TILE; ++k) {
            if (k < c) {
                UNROLL for (int r = 0; r < TILE; ++r) {
                    if (r >= c) {
                        tile[r][c] = mac(-tile[r][k], tile[c][k], tile[r][c]);
                    }
                }
            }
        }
        const float pivot = tile[c][c];
        good = good && pivot >= FLT_MIN && pivot <= FLT_MAX; /* false for NaN, too */
        tile[c][c] = 1.0f / sqrtf(pivot);
        UNROLL for (int r = 0; r < TILE; ++r) {
            if (r > c) {
                tile[r][c] *= tile[c][c];
            }
        }
    }
    return good;
}

/* A tile below: times the inverse of the transposed factor of the diagonal one. */
static void divide_tile(float tile[TILE][TILE], float (*diagonal)[STRIDE])
{
    UNROLL for (int c = 0; c < TILE; ++c) {
        UNROLL for (int k = 0; k < TILE; ++k) {
            if (k < c) {
                UNROLL for (int r = 0; r < TILE; ++r) {
                    tile[r][c] = mac(-tile[r][k], diagonal[c][k], tile[r][c]);
                }
            }
        }
        UNROLL for (int r = 0; r < TILE; ++r) {
            tile[r][c] *= diagonal[c][c];
        }
    }
}

bool linsolve_factor(float matrix[STRIDE][STRIDE], const float *keep,
                     float factor[STRIDE][STRIDE])
{
    for (int j = 0; j < STRIDE; j += TILE) {
        for (int i = j; i < STRIDE; i += TILE) {
            float tile[TILE][TILE];
            UNROLL for (int r = 0; r < TILE; ++r) {
                UNROLL for (int c = 0; c < TILE; ++c) {
                    tile[r][c] = matrix[i + r][j + c];
                }
            }
            if (keep != NULL) {
                UNROLL for (int r = 0; r < TILE; ++r) {
                    UNROLL for (int c = 0; c < TILE; ++c) {
                        tile[r][c] *= keep[i + r] * keep[j + c];
                    }
                    if (i == j) {
                        tile[r][r] += 1.0f - keep[i + r];
                    }
                }
            }
            if (i == j) {
                UNROLL for (int r = 0; r < TILE; ++r) {
                    tile[r][r] = mac(tile[r][r], 1.0f + DAMPING, TINY);
                }
            }
            const float *left = factor[i];
            const float *above = factor[j];
            for (const float *end = above + j; above != end; ++above, ++left) {
                UNROLL for (int c = 0; c < TILE; ++c) {
                    const float b = above[c * STRIDE];
                    UNROLL for (int r = 0; r < TILE; ++r) {
                        tile[r][c] = mac(-left[r * STRIDE], b, tile[r][c]);
                    }
                }
            }
            if (i > j) {
                divide_tile(tile, (float(*)[STRIDE]) & factor[j][j]);
            } else if (!factor_tile(tile)) {
                return false;
            }
            UNROLL for (int r = 0; r < TILE; ++r) {
                UNROLL for (int c = 0; c < TILE; ++c) {
                    factor[i + r][j + c] = tile[r][c];
                }
            }
        }
    }
    return true;
}

void linsolve_forward(float factor[STRIDE][STRIDE], float vector[STRIDE])
{
    for (int i = 0; i < STRIDE; i += TILE) {
        const float *row = factor[i];
        float x[TILE];
        UNROLL for (int r = 0; r < TILE; ++r) {
            x[r] = vector[i + r];
        }
        for (const float *y = vector; y != vector + i; ++y, ++row) {
            UNROLL for (int r = 0; r < TILE; ++r) {
                x[r] = mac(-row[r * STRIDE], *y, x[r]);
            }
        }
        UNROLL for (int r = 0; r < TILE; ++r) {
            UNROLL for (int k = 0; k < TILE; ++k) {
                if (k < r) {
                    x[r] = mac(-row[r * STRIDE + k], x[k], x[r]);
                }
            }
            x[r] *= row[r * STRIDE + r];
            vector[i + r] = x[r];
        }
    }
}
