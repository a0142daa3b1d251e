#include "linsolve.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* A limit met with less than this is met, in the unit of x. */
#define LIMIT_TOLERANCE 1e-6f
/* Where moving away from a new limit would need this much less than it does without the limits
 * held, the new one is a combination of those. */
#define DEPENDENT 1e-5f
/* Changes of the set of held limits, each usually one more: bounds the time. */
#define CHANGES_MAX (2 * LINSOLVE_SIZE)

/* A limit that x is held on, n' x = its bound with n = sign * (ones of the limit). */
typedef struct {
    int limit;
    float sign;                    /* 1 at its high, -1 at its low */
    float multiplier;              /* >= 0, the push of the minimum against it */
    float response[LINSOLVE_SIZE]; /* A^-1 n */
} held_t;

/* The held limits N, and after them the one being taken in. */
typedef struct {
    held_t limits[LINSOLVE_SIZE + 1];
    int count;
    float gram[LINSOLVE_SIZE * LINSOLVE_STRIDE]; /* Cholesky factor of N' A^-1 N */
} holds_t;

/* sum - a . b */
static float minus_dot(float sum, const float *a, const float *b, int size)
{
    for (int i = 0; i < size; ++i) {
        sum -= a[i] * b[i];
    }
    return sum;
}

/* Row i of L from row i of A and the rows of L above it. */
static bool factor_row(float *matrix, int i)
{
    float *row = matrix + i * LINSOLVE_STRIDE;
    for (int j = 0; j < i; ++j) {
        const float *above = matrix + j * LINSOLVE_STRIDE;
        row[j] = minus_dot(row[j], row, above, j) * above[j];
    }
    const float pivot = minus_dot(row[i], row, row, i);
    if (!(pivot >= FLT_MIN && pivot <= FLT_MAX)) { /* false for NaN, too */
        return false;
    }
    row[i] = 1.0f / sqrtf(pivot);
    return true;
}

bool linsolve_factor(float *matrix, int size)
{
    for (int i = 0; i < size; ++i) {
        if (!factor_row(matrix, i)) {
            return false;
        }
    }
    return true;
}

void linsolve_solve(const float *factor, float *vector, int size)
{
    for (int i = 0; i < size; ++i) { /* L y = b */
        const float *row = factor + i * LINSOLVE_STRIDE;
        vector[i] = minus_dot(vector[i], row, vector, i) * row[i];
    }
    for (int i = size - 1; i >= 0; --i) { /* L' x = y; what is found leaves the rows above */
        const float *row = factor + i * LINSOLVE_STRIDE;
        vector[i] *= row[i];
        for (int k = 0; k < i; ++k) {
            vector[k] -= row[k] * vector[i];
        }
    }
}

/* Sum of the unknowns that a limit limits. */
static float limited(const linsolve_limit_t *limit, const float *x)
{
    float sum = 0.0f;
    for (int k = 0; k < limit->count; ++k) {
        sum += x[limit->first - k * COMMANDS];
    }
    return sum;
}

/* n' x of a held limit. */
static float along(const linsolve_limit_t *limits, const held_t *held, const float *x)
{
    return held->sign * limited(&limits[held->limit], x);
}

/* The side of a limit that x violates most is the one to take in; by how much it does, or 0. Held
 * ones, on which x stands but for rounding, are left out. */
static float most_violated(const linsolve_limit_t *limits, int limit_count, const float *x,
                           holds_t *holds)
{
    held_t *taken = &holds->limits[holds->count];
    float excess = 0.0f;

    for (int k = 0; k < limit_count; ++k) {
        const float value = limited(&limits[k], x);
        const float sign = value > 0.0f ? 1.0f : -1.0f;
        const float beyond = sign > 0.0f ? value - limits[k].high : limits[k].low - value;
        bool is_held = false;
        for (int h = 0; h < holds->count; ++h) {
            is_held = is_held || holds->limits[h].limit == k;
        }
        if (beyond > LIMIT_TOLERANCE && beyond > excess && !is_held) {
            excess = beyond;
            taken->limit = k;
            taken->sign = sign;
        }
    }
    return excess;
}

/* Multiplier 0, and response A^-1 n, of the limit to take in. */
static void prepare(const float *factor, const linsolve_limit_t *limits, held_t *taken)
{
    const linsolve_limit_t *limit = &limits[taken->limit];

    taken->multiplier = 0.0f;
    memset(taken->response, 0, sizeof taken->response);
    for (int k = 0; k < limit->count; ++k) {
        taken->response[limit->first - k * COMMANDS] = taken->sign;
    }
    linsolve_solve(factor, taken->response, LINSOLVE_SIZE);
}

/* Factorise N' A^-1 N anew from row `from` on. */
static bool refactor(const linsolve_limit_t *limits, holds_t *holds, int from)
{
    for (int a = from; a < holds->count; ++a) {
        for (int b = 0; b <= a; ++b) {
            holds->gram[a * LINSOLVE_STRIDE + b] =
                along(limits, &holds->limits[a], holds->limits[b].response);
        }
        if (!factor_row(holds->gram, a)) {
            return false;
        }
    }
    return true;
}

/* Put x on the held limits again, by A^-1 N (N' A^-1 N)^-1 of what is missing: rounding has carried
 * it off where its free minimum is a thousand times further away than its limits. */
static void settle(const linsolve_limit_t *limits, const holds_t *holds, float *x)
{
    float missing[LINSOLVE_SIZE];

    for (int h = 0; h < holds->count; ++h) {
        const held_t *held = &holds->limits[h];
        const linsolve_limit_t *limit = &limits[held->limit];
        const float bound = held->sign > 0.0f ? limit->high : -limit->low;
        missing[h] = bound - along(limits, held, x);
    }
    linsolve_solve(holds->gram, missing, holds->count);
    for (int h = 0; h < holds->count; ++h) {
        for (int i = 0; i < LINSOLVE_SIZE; ++i) {
            x[i] += missing[h] * holds->limits[h].response[i];
        }
    }
}

void linsolve_bound(const float *factor, const linsolve_limit_t *limits, int limit_count, float *x)
{
    holds_t holds;
    holds.count = 0;
    float excess = 0.0f;

    for (int change = 0; change < CHANGES_MAX; ++change) {
        held_t *taken = &holds.limits[holds.count];
        if (excess <= 0.0f) { /* else a limit is still being taken in */
            excess = most_violated(limits, limit_count, x, &holds);
            if (excess <= 0.0f) {
                settle(limits, &holds, x);
                return;
            }
            prepare(factor, limits, taken);
        }
        /* x goes against n as far as the held limits let it: along A^-1 (n - N r), while their
         * multipliers fall by r = (N' A^-1 N)^-1 N' A^-1 n. */
        float r[LINSOLVE_SIZE];
        float direction[LINSOLVE_SIZE];
        for (int h = 0; h < holds.count; ++h) {
            r[h] = along(limits, &holds.limits[h], taken->response);
        }
        linsolve_solve(holds.gram, r, holds.count);
        memcpy(direction, taken->response, sizeof direction);
        for (int h = 0; h < holds.count; ++h) {
            for (int i = 0; i < LINSOLVE_SIZE; ++i) {
                direction[i] -= r[h] * holds.limits[h].response[i];
            }
        }
        const float slope = along(limits, taken, direction);
        const bool dependent = !(slope > DEPENDENT * along(limits, taken, taken->response));

        /* Until x meets the limit or, before that, a held one no longer pushes. */
        float length = dependent ? FLT_MAX : excess / slope;
        int released = -1;
        for (int h = 0; h < holds.count; ++h) {
            if (r[h] > 0.0f && holds.limits[h].multiplier < length * r[h]) {
                length = holds.limits[h].multiplier / r[h];
                released = h;
            }
        }
        if (dependent && released < 0) {
            return; /* rounding: no x meets them all */
        }
        for (int i = 0; i < LINSOLVE_SIZE && !dependent; ++i) {
            x[i] -= length * direction[i];
        }
        for (int h = 0; h < holds.count; ++h) {
            holds.limits[h].multiplier -= length * r[h];
        }
        taken->multiplier += length;
        excess = released < 0 ? 0.0f : dependent ? excess : excess - length * slope;

        int changed = holds.count;
        if (released < 0) {
            ++holds.count;
        } else {
            changed = released;
            memmove(&holds.limits[released], &holds.limits[released + 1],
                    (size_t)(holds.count - released) * sizeof holds.limits[0]);
            --holds.count;
        }
        if (!refactor(limits, &holds, changed)) {
            return;
        }
    }
}
