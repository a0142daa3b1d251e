/* For test_adaptation.py: many samples in one call, and a program that feeds hostile ones.
 *
 *     adaptation SAMPLES SEED     prints what was believed, and the worst that it has seen */
#include "loop/adaptation.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows of y and z, and after each sample the maps, learned and taken. */
void run(adaptation_t *a, int samples, const float *y, const float *z, output_map_t *maps)
{
    for (int k = 0; k < samples; k++) {
        adaptation_update(a, y + k * OUTPUTS, z + k * OUTPUTS);
        maps[2 * k] = a->learned;
        maps[2 * k + 1] = a->taken;
    }
}

static uint64_t state;

static uint32_t below(uint32_t bound)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % bound;
}

static float between(float low, float high)
{
    return low + (high - low) * (float)below(1u << 24) / (float)(1u << 24);
}

#define CHECK(condition)                                                                           \
    if (!(condition)) {                                                                            \
        printf("sample %ld: not %s\n", number, #condition);                                        \
        exit(1);                                                                                   \
    }

/* What a map within reach takes to measurements that are not too far to be believed. */
#define WIDEST (8.4f / (1.0f + 0.6f * (float)OUTPUTS))

static long number;
static double largest_variance = 1.0, least_diagonal = 1.0;

/* The largest eigenvalue of P, by its powers, in float64. */
static double eigenvalue(const knowledge_t *a)
{
    double x[FEATURES], length = 0.0;
    for (int i = 0; i < FEATURES; i++) {
        x[i] = between(-1.0f, 1.0f);
    }
    for (int turn = 0; turn < 40; turn++) {
        double f[FEATURES], square = 0.0;
        for (int j = 0; j < FEATURES; j++) {
            f[j] = x[j];
            for (int i = 0; i < j; i++) {
                f[j] += (double)a->upper[j * (j - 1) / 2 + i] * x[i];
            }
            f[j] *= (double)a->diagonal[j];
        }
        for (int i = 0; i < FEATURES; i++) {
            x[i] = f[i];
            for (int j = i + 1; j < FEATURES; j++) {
                x[i] += (double)a->upper[j * (j - 1) / 2 + i] * f[j];
            }
            square += x[i] * x[i];
        }
        length = sqrt(square);
        for (int i = 0; i < FEATURES; i++) {
            x[i] /= length;
        }
    }
    return length;
}

static void check(const adaptation_t *a, const output_map_t *before, const float y[OUTPUTS])
{
    /* Four samples' worth, once in four samples, and the last bit. */
    const float most = 4.0f * ADAPTATION_RATE / CONTROL_RATE_HZ + 2e-6f;
    float z[OUTPUTS], added[OUTPUTS], slopes[OUTPUTS][OUTPUTS];
    float reach = ADAPTATION_REACH * 1.00001f;
    for (int i = 0; i < OUTPUTS; i++) {
        reach += ADAPTATION_REACH * 1.00001f * fabsf(y[i]);
        for (int f = 0; f < FEATURES; f++) {
            CHECK(fabsf(a->learned.row[i][f]) <= ADAPTATION_FURTHEST);
            CHECK(fabsf(a->taken.row[i][f]) <= ADAPTATION_FURTHEST);
            CHECK(fabsf(a->taken.row[i][f] - before->row[i][f]) <= most);
        }
    }
    for (int g = 0; g < OUTPUT_GROUPS; g++) {
        for (int j = 0; j < FEATURES; j++) {
            const float d = a->known[g].diagonal[j];
            CHECK(d > 0.0f && d <= 1.0f);
            least_diagonal = fmin(least_diagonal, (double)d);
        }
        for (int k = 0; k < FEATURES * (FEATURES - 1) / 2; k++) {
            CHECK(isfinite(a->known[g].upper[k]));
        }
    }
    if (number % 10 != 0) {
        return;
    }
    adaptation_output(a, y, z);
    adaptation_linearise(a, y, added, slopes);
    for (int i = 0; i < OUTPUTS; i++) {
        CHECK(fabsf(z[i] - y[i]) <= reach);
        CHECK(fabsf(added[i]) <= reach);
        for (int f = 0; f < FEATURES; f++) {
            CHECK(adaptation_ignorance(a, i, f) > 0.0f && adaptation_ignorance(a, i, f) <= 1.0f);
        }
        for (int j = 0; j < OUTPUTS; j++) {
            CHECK(fabsf(slopes[i][j]) <= ADAPTATION_FURTHEST * (1.0f + 4.0f * WIDEST));
        }
    }
    if (number % 200 == 0) {
        largest_variance = fmax(largest_variance, eigenvalue(&a->known[0]));
    }
}

enum { RICH, STILL, LINE, WILD, TINY, UNLIKE, NOT_FINITE, HUGE_ONES, JUMPS, DENORMAL, KINDS };

int main(int count, char **words)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, 3.4e38f, -3.4e38f, 1e-45f, -0.0f, 10.0f};
    const long samples = count > 2 ? atol(words[1]) : 0;
    adaptation_t *a = malloc(sizeof *a);
    float y[OUTPUTS], z[OUTPUTS], offset[OUTPUTS] = {0}, centre[OUTPUTS] = {0}, size[OUTPUTS] = {0};
    int kind = RICH;
    long left = 0, believed = 0;
    state = count > 2 ? (uint64_t)atol(words[2]) : 0;
    adaptation_start(a);
    for (number = 0; number < samples; number++, left--) {
        if (left <= 0) {
            kind = (int)below(KINDS);
            /* At times a segment is some seven minutes long. */
            left = below(100) == 0 ? 50000 : 1 + (long)below(3000);
            for (int i = 0; i < OUTPUTS; i++) {
                centre[i] = below(2) ? 0.0f : between(-0.5f * WIDEST, 0.5f * WIDEST);
                size[i] = 0.5f * WIDEST * powf(10.0f, between(-7.0f, 0.0f));
            }
        }
        /* Whatever y does, what is measured is what the map says and an offset that moves a little,
         * so that it is believed: only such samples reach the covariance. */
        const float line = sinf(0.01f * (float)number);
        for (int i = 0; i < OUTPUTS; i++) {
            const float wave = sinf(0.01f * (float)(i + 1) * (float)number + (float)i);
            y[i] = kind == STILL  ? centre[i]
                   : kind == LINE ? centre[i] + size[i] * line
                   : kind == WILD ? between(-WIDEST, WIDEST)
                   : kind == DENORMAL ? between(-1e-38f, 1e-38f)
                   : kind == TINY ? centre[i] + between(-1e-6f, 1e-6f)
                   : kind == UNLIKE ? size[i] * between(-1.0f, 1.0f)
                                    : wave;
        }
        adaptation_output(a, y, z);
        for (int i = 0; i < OUTPUTS; i++) {
            offset[i] = fminf(fmaxf(offset[i] + between(-0.05f, 0.05f), -0.9f), 0.9f);
            z[i] += offset[i];
        }
        float bad_y[OUTPUTS], bad_z[OUTPUTS];
        memcpy(bad_y, y, sizeof y);
        memcpy(bad_z, z, sizeof z);
        float *const hurt = (below(2) ? bad_y : bad_z) + below(OUTPUTS);
        if (kind == NOT_FINITE && below(500) == 0) {
            *hurt = odd[below(8)];
        } else if (kind == HUGE_ONES && below(500) == 0) {
            *hurt = powf(10.0f, between(0.0f, 38.0f));
        } else if (kind == JUMPS && below(500) == 0) {
            *hurt += between(-2.0f, 2.0f);
        }
        const output_map_t before = a->taken;
        if (below(100) == 0) {
            adaptation_rest(a);
        } else {
            adaptation_update(a, bad_y, bad_z);
        }
        check(a, &before, y);
        believed += a->since_believed == 0;
        if (below(300000) == 0) {
            adaptation_start(a);
        }
    }
    printf("%ld %g %g\n", believed, least_diagonal, largest_variance);
    free(a);
    return 0;
}
