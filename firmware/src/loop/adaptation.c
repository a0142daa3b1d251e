#include "loop/adaptation.h"

#include "solver/number.h"

#ifndef HALF_LIFE_S /* a test has another */
#define HALF_LIFE_S 30.0f
#endif
#define SHARE (0.6931472f * (float)FEATURES / (HALF_LIFE_S * CONTROL_RATE_HZ))

/* Variance of a sample in units of the prior's, which has a standard deviation of 0.3. What a
 * network leaves over has one of 0.02, but is not white: it goes on for half a second or so, and
 * all samples of that time tell as much as one. */
#define NOISE (0.02f * 0.02f * 0.5f * CONTROL_RATE_HZ / (0.3f * 0.3f))

#define JUMP 0.3f /* normalised */
#define DOUBT_S 0.25f
#define DOUBT_SAMPLES ((uint16_t)(DOUBT_S * CONTROL_RATE_HZ + 0.5f))
#define FURTHEST 10.0f /* an output, normalised, its measurement, an element of what is learned */

/* What samples have told along phi, in units of the prior's information. Less is rounding as much
 * as it is knowledge, and is not worth forgetting. */
#define LEAST_KNOWN 1e-3f
/* Of a variance. The prior bounds it, but for rounding: of features that hardly move it is 1 less
 * what rounding hides, and without room above 1 they would keep all others from being
 * forgotten. */
#define MOST_VARIANCE 1.0001f
/* Of D: FURTHEST and SHARE let it fall to some 5e-7 with 12 outputs. */
#define LEAST_VARIANCE 1e-9f

#ifdef OUTPUT_GROUP
static const uint8_t group_of[OUTPUTS] = OUTPUT_GROUP;
static const uint8_t place_of[OUTPUTS] = OUTPUT_PLACE;
#else
static const uint8_t group_of[OUTPUTS] = {0};
static const uint8_t place_of[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
#endif

static inline float *column(float *upper, int j)
{
    return upper + j * (j - 1) / 2;
}

static float variance(const knowledge_t *a, int i)
{
    float sum = a->diagonal[i];
    for (int j = i + 1; j < FEATURES; j++) {
        const float u = a->upper[j * (j - 1) / 2 + i];
        sum = mac(u * u, a->diagonal[j], sum);
    }
    return sum;
}

static void start_with(adaptation_t *a, const output_map_t *map)
{
    const output_map_t copy = *map; /* it may be the one in a */
    memset(a, 0, sizeof *a);
    a->learned = copy;
    a->taken = copy;
    for (int g = 0; g < OUTPUT_GROUPS; g++) {
        for (int j = 0; j < FEATURES; j++) {
            a->known[g].diagonal[j] = 1.0f;
        }
    }
}

void adaptation_start(adaptation_t *adaptation)
{
    output_map_t trained = {0};
    for (int i = 0; i < OUTPUTS; i++) {
        trained.gain[i][i] = 1.0f;
    }
    start_with(adaptation, &trained);
}

static float reachable(float value, float trained)
{
    return clamp(value, trained - ADAPTATION_REACH, trained + ADAPTATION_REACH);
}

bool adaptation_set(adaptation_t *adaptation, const output_map_t *map)
{
    if (!all_finite(map->gain[0], OUTPUTS * OUTPUTS) || !all_finite(map->offset, OUTPUTS)) {
        return false;
    }
    for (int i = 0; i < OUTPUTS; i++) {
        for (int j = 0; j < OUTPUTS; j++) {
            if (map->gain[i][j] != reachable(map->gain[i][j], (float)(i == j))) {
                return false;
            }
        }
        if (map->offset[i] != reachable(map->offset[i], 0.0f)) {
            return false;
        }
    }
    start_with(adaptation, map);
    return true;
}

/* P <- P + weight u u', weight >= 0 (Agee and Turner). */
static void grow(knowledge_t *a, float u[FEATURES], float weight)
{
    for (int j = FEATURES - 1; j >= 0; j--) {
        float *const up = column(a->upper, j);
        const float before = a->diagonal[j];
        const float after = mac(weight * u[j], u[j], before);
        const float along = weight * u[j] / after;
        for (int i = 0; i < j; i++) {
            u[i] = mac(-u[j], up[i], u[i]);
            up[i] = mac(along, u[i], up[i]);
        }
        a->diagonal[j] = after;
        weight *= before / after;
    }
}

/* Takes the share of S along phi. With v = S phi, Sherman and Morrison's formula makes of it
 *
 *     P <- P + weight u u',  u = P v = phi - P phi,
 *     weight = SHARE / (phi' v - SHARE v' P v) */
static void forget(knowledge_t *a, const float phi[FEATURES])
{
    float u[FEATURES], solved[FEATURES];
    float length = 0.0f, inner = 0.0f, outer = 0.0f; /* phi' phi, phi' P phi, phi' P^-1 phi */

    memcpy(u, phi, sizeof u);
    memcpy(solved, phi, sizeof solved);
    for (int j = FEATURES - 1; j >= 0; j--) {
        const float *const up = column(a->upper, j);
        float along = phi[j];
        for (int i = 0; i < j; i++) {
            along = mac(up[i], phi[i], along);
            solved[i] = mac(-up[i], solved[j], solved[i]);
        }
        const float weighted = a->diagonal[j] * along;
        u[j] -= weighted;
        for (int i = 0; i < j; i++) {
            u[i] = mac(-up[i], weighted, u[i]);
        }
        length = mac(phi[j], phi[j], length);
        inner = mac(along, weighted, inner);
        outer = mac(solved[j], solved[j] / a->diagonal[j], outer);
    }
    const float known = outer - length;
    if (!(known > LEAST_KNOWN * length)) {
        return;
    }
    /* v' P v is at most phi' v; rounding may say otherwise. */
    float weight = SHARE / (known - SHARE * clamp(known - length + inner, 0.0f, known));
    for (int j = 0; j < FEATURES; j++) {
        const float room = larger(MOST_VARIANCE - variance(a, j), 0.0f);
        if (weight * u[j] * u[j] > room) {
            weight = room / (u[j] * u[j]);
        }
    }
    grow(a, u, weight);
}

/* P <- (P^-1 + phi phi' / NOISE)^-1 and its gain (Bierman). */
static void shrink(knowledge_t *a, const float phi[FEATURES], float gain[FEATURES])
{
    float total = NOISE;
    for (int j = 0; j < FEATURES; j++) {
        float *const up = column(a->upper, j);
        float along = phi[j];
        for (int i = 0; i < j; i++) {
            along = mac(up[i], phi[i], along);
        }
        const float weighted = a->diagonal[j] * along;
        const float before = total;
        total = mac(along, weighted, before);
        const float back = -along / before;
        for (int i = 0; i < j; i++) {
            const float u = up[i];
            up[i] = mac(gain[i], back, u);
            gain[i] = mac(weighted, u, gain[i]);
        }
        gain[j] = weighted;
        a->diagonal[j] = clamp(a->diagonal[j] * (before / total), LEAST_VARIANCE, 1.0f);
    }
    const float scale = 1.0f / total;
    for (int j = 0; j < FEATURES; j++) {
        gain[j] *= scale;
    }
}

/* The rows of a group. */
static void learn(adaptation_t *a, int group, const float y[OUTPUTS], const float z[OUTPUTS])
{
    float phi[FEATURES] = {0.0f}, gain[FEATURES];

    for (int j = 0; j < OUTPUTS; j++) {
        if (group_of[j] == group) {
            phi[place_of[j]] = y[j];
        }
    }
    phi[FEATURES - 1] = 1.0f;
    forget(&a->known[group], phi);
    shrink(&a->known[group], phi, gain);
    for (int i = 0; i < OUTPUTS; i++) {
        float *const row = a->learned.gain[i];
        if (group_of[i] != group) {
            continue;
        }
        float error = z[i] - a->learned.offset[i];
        for (int j = 0; j < OUTPUTS; j++) {
            error = mac(-row[j], y[j], error);
        }
        for (int j = 0; j < OUTPUTS; j++) {
            if (group_of[j] == group) {
                row[j] = clamp(mac(gain[place_of[j]], error, row[j]), -FURTHEST, FURTHEST);
            }
        }
        const float offset = mac(gain[FEATURES - 1], error, a->learned.offset[i]);
        a->learned.offset[i] = clamp(offset, -FURTHEST, FURTHEST);
    }
}

static bool possible(const float values[OUTPUTS])
{
    bool within = all_finite(values, OUTPUTS);
    for (int i = 0; i < OUTPUTS; i++) {
        within = within && fabsf(values[i]) <= FURTHEST;
    }
    return within;
}

/* Has the measurement moved by what the map does not explain? The first one has nothing before it,
 * and is doubted as one that has jumped. */
static bool jumped(const adaptation_t *a, const float y[OUTPUTS], const float z[OUTPUTS])
{
    bool far = !a->begun;
    for (int i = 0; i < OUTPUTS; i++) {
        float change = z[i] - a->measured[i];
        for (int j = 0; j < OUTPUTS; j++) {
            change = mac(-a->taken.gain[i][j], y[j] - a->output[j], change);
        }
        far = far || fabsf(change) > JUMP;
    }
    return far;
}

static float towards(float value, float target)
{
    const float most = ADAPTATION_RATE / CONTROL_RATE_HZ;
    return value + clamp(target - value, -most, most);
}

void adaptation_rest(adaptation_t *adaptation)
{
    const output_map_t *const learned = &adaptation->learned;
    output_map_t *const taken = &adaptation->taken;
    for (int i = 0; i < OUTPUTS; i++) {
        for (int j = 0; j < OUTPUTS; j++) {
            const float target = reachable(learned->gain[i][j], (float)(i == j));
            taken->gain[i][j] = towards(taken->gain[i][j], target);
        }
        taken->offset[i] = towards(taken->offset[i], reachable(learned->offset[i], 0.0f));
    }
    if (adaptation->since_believed != UINT32_MAX) {
        adaptation->since_believed++;
    }
}

void adaptation_update(adaptation_t *adaptation, const float y[OUTPUTS], const float z[OUTPUTS])
{
    bool sound = possible(y) && possible(z);
    if (sound) {
        const bool far = jumped(adaptation, y, z);
        adaptation->agreed = far ? 0 : adaptation->agreed;
        sound = adaptation->agreed == DOUBT_SAMPLES;
        adaptation->agreed = (uint16_t)(adaptation->agreed + !sound);
        adaptation->begun = true;
        memcpy(adaptation->output, y, sizeof adaptation->output);
        memcpy(adaptation->measured, z, sizeof adaptation->measured);
    }
    if (sound) {
        for (int g = 0; g < OUTPUT_GROUPS; g++) {
            learn(adaptation, g, y, z);
        }
    }
    adaptation_rest(adaptation);
    if (sound) {
        adaptation->believed++;
        adaptation->since_believed = 0;
    } else {
        adaptation->doubted++;
    }
}

void adaptation_ignorance(const adaptation_t *adaptation, float gain_ignorance[OUTPUTS],
                          float offset_ignorance[OUTPUTS])
{
    for (int j = 0; j < OUTPUTS; j++) {
        const knowledge_t *const known = &adaptation->known[group_of[j]];
        gain_ignorance[j] = smaller(variance(known, place_of[j]), 1.0f);
        offset_ignorance[j] = smaller(variance(known, FEATURES - 1), 1.0f);
    }
}
