#include "loop/adaptation.h"

#include "solver/number.h"

/* Chosen on recordings of the tendon rig, first halves of its days and two days that no report has:
 * free runs behind what was learned erred by 6 % more with 30 s, by 2 % less with 120 s, which
 * would follow a robot that changes half as fast. A test has another. */
#ifndef HALF_LIFE_S
#define HALF_LIFE_S 60.0f
#endif

enum { WEIGH, FORGET, LEARN, FOLLOW, TURNS };

/* What a sample of TURNS forgets, of a group with so many features. */
#define SHARE(features) \
    (0.6931472f * (float)(features) * (float)TURNS / (HALF_LIFE_S * CONTROL_RATE_HZ))

/* Variance of a sample in units of the prior's, which has a standard deviation of 0.3. What a
 * network leaves over is not white: it goes on for half a second or so, and all samples of that
 * time tell as much as one. Its size is what free runs err by on the network's own day: on the
 * recordings above twice that cost 3 %, half of it gained 1 %. */
#define NOISE(error) ((error) * (error) * 0.5f * CONTROL_RATE_HZ / (0.3f * 0.3f * (float)TURNS))

#define JUMP 0.3f /* normalised */
#define DOUBT_S 0.25f
#define DOUBT_SAMPLES ((uint16_t)(DOUBT_S * CONTROL_RATE_HZ + 0.5f))

/* What samples have told along phi, in units of the prior's information. Less is rounding as much
 * as it is knowledge, and is not worth forgetting. */
#define LEAST_KNOWN 1e-3f
/* Of a variance. The prior bounds it, but for rounding: of features that hardly move it is 1 less
 * what rounding hides, and without room above 1 they would keep all others from being
 * forgotten. */
#define MOST_VARIANCE 1.0001f
#define LEAST_VARIANCE 1e-9f /* of D */

#ifdef OUTPUT_GROUP
static const uint8_t group_of[OUTPUTS] = OUTPUT_GROUP;
static const uint8_t place_of[OUTPUTS] = OUTPUT_PLACE;
static const uint8_t features_of[OUTPUT_GROUPS] = GROUP_FEATURES;
static const bool curves_of[OUTPUT_GROUPS] = GROUP_CURVES;
static const float error_of[OUTPUT_GROUPS] = GROUP_ERROR;
#else
static const uint8_t group_of[OUTPUTS] = {0};
static const uint8_t place_of[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
static const uint8_t features_of[] = {FEATURES};
static const bool curves_of[] = {CURVES > 0};
static const float error_of[] = {0.02f};
#endif

#define CURVE(c) (GROUP_SIZE + 1 + (c))

/* Places of the two coordinates of each product, and its slot. */
static const uint8_t first_of[] = {0, 0, GROUP_SIZE < 3 ? 1 : 0, 1, 1, 2};
static const uint8_t second_of[] = {0, 1, GROUP_SIZE < 3 ? 1 : 2, 1, 2, 2};

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
    const output_map_t trained = {{{0.0f}}};
    start_with(adaptation, &trained);
}

bool adaptation_set(adaptation_t *adaptation, const output_map_t *map)
{
    output_map_t set = *map;
    if (!all_finite(set.row[0], OUTPUTS * FEATURES)) {
        return false;
    }
    for (int i = 0; i < OUTPUTS; i++) {
        for (int f = 0; f < FEATURES; f++) {
            if (fabsf(set.row[i][f]) > ADAPTATION_FURTHEST * 1.0001f) {
                return false;
            }
            set.row[i][f] = clamp(set.row[i][f], -ADAPTATION_FURTHEST, ADAPTATION_FURTHEST);
        }
    }
    start_with(adaptation, &set);
    return true;
}

/* phi of a group. */
static void see(int group, const float y[OUTPUTS], float phi[FEATURES])
{
    memset(phi, 0, FEATURES * sizeof *phi);
    for (int j = 0; j < OUTPUTS; j++) {
        if (group_of[j] == group) {
            phi[place_of[j]] = y[j];
        }
    }
    phi[ADAPTATION_OFFSET] = 1.0f;
    for (int c = 0; c < CURVES && curves_of[group]; c++) {
        phi[CURVE(c)] = CURVE_SCALE * phi[first_of[c]] * phi[second_of[c]];
    }
}

static float times(const float row[FEATURES], const float phi[FEATURES])
{
    float sum = 0.0f;
    for (int f = 0; f < FEATURES; f++) {
        sum = mac(row[f], phi[f], sum);
    }
    return sum;
}

/* Most that the map may add to outputs of a group. */
static float reach(const float phi[FEATURES])
{
    float sum = 1.0f;
    for (int f = 0; f < GROUP_SIZE; f++) {
        sum += fabsf(phi[f]);
    }
    return ADAPTATION_REACH * sum;
}

void adaptation_output(const adaptation_t *adaptation, const float y[OUTPUTS], float z[OUTPUTS])
{
    for (int g = 0; g < OUTPUT_GROUPS; g++) {
        float phi[FEATURES];
        see(g, y, phi);
        const float most = reach(phi);
        for (int i = 0; i < OUTPUTS; i++) {
            if (group_of[i] == g) {
                z[i] = y[i] + clamp(times(adaptation->taken.row[i], phi), -most, most);
            }
        }
    }
}

static int sign(float value)
{
    return (value > 0.0f) - (value < 0.0f);
}

/* How what is added to an output changes with those of its group. `bound`: 0, or the sign of what
 * is at its bound. */
static void slopes_of(const float row[FEATURES], const float phi[FEATURES], int bound,
                      float slopes[GROUP_SIZE])
{
    for (int p = 0; p < GROUP_SIZE; p++) {
        slopes[p] = bound == 0 ? row[p] : ADAPTATION_REACH * (float)(bound * sign(phi[p]));
    }
#if CURVES > 0
    for (int c = 0; c < CURVES && bound == 0; c++) {
        const int i = first_of[c], j = second_of[c];
        const float slope = CURVE_SCALE * row[CURVE(c)];
        slopes[i] = mac(slope, phi[j], slopes[i]);
        slopes[j] = mac(slope, phi[i], slopes[j]);
    }
#endif
}

void adaptation_linearise(const adaptation_t *adaptation, const float y[OUTPUTS],
                          float added[OUTPUTS], float slopes[OUTPUTS][OUTPUTS])
{
    for (int i = 0; i < OUTPUTS; i++) {
        for (int j = 0; j < OUTPUTS; j++) {
            slopes[i][j] = 0.0f;
        }
    }
    for (int g = 0; g < OUTPUT_GROUPS; g++) {
        float phi[FEATURES], by_place[GROUP_SIZE];
        see(g, y, phi);
        const float most = reach(phi);
        for (int i = 0; i < OUTPUTS; i++) {
            const float *row = adaptation->taken.row[i];
            if (group_of[i] != g) {
                continue;
            }
            const float sum = times(row, phi);
            added[i] = clamp(sum, -most, most);
            slopes_of(row, phi, fabsf(sum) > most ? sign(sum) : 0, by_place);
            for (int j = 0; j < OUTPUTS; j++) {
                if (group_of[j] == g) {
                    slopes[i][j] = by_place[place_of[j]];
                }
            }
        }
    }
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

/* How to take the share of S along phi. With v = S phi, Sherman and Morrison's formula makes of it
 *
 *     P <- P + weight u u',  u = P v = phi - P phi,
 *     weight = share / (phi' v - share v' P v)
 *
 * A weight of 0: too little is known to forget of it. */
static float weigh(const knowledge_t *a, float share, const float phi[FEATURES], float u[FEATURES])
{
    float solved[FEATURES];
    float length = 0.0f, inner = 0.0f, outer = 0.0f; /* phi' phi, phi' P phi, phi' P^-1 phi */

    memcpy(u, phi, sizeof solved);
    memcpy(solved, phi, sizeof solved);
    for (int j = FEATURES - 1; j >= 0; j--) {
        const float *const up = a->upper + j * (j - 1) / 2;
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
        return 0.0f;
    }
    /* v' P v is at most phi' v; rounding may say otherwise. */
    return share / (known - share * clamp(known - length + inner, 0.0f, known));
}

static void forget(knowledge_t *a, float u[FEATURES], float weight)
{
    for (int j = 0; j < FEATURES; j++) {
        const float room = larger(MOST_VARIANCE - variance(a, j), 0.0f);
        if (weight * u[j] * u[j] > room) {
            weight = room / (u[j] * u[j]);
        }
    }
    if (weight > 0.0f) {
        grow(a, u, weight);
    }
}

/* P <- (P^-1 + phi phi' / noise)^-1 and its gain (Bierman). */
static void shrink(knowledge_t *a, float noise, const float phi[FEATURES], float gain[FEATURES])
{
    float total = noise;
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

/* The row of an output. */
static void follow(float row[FEATURES], const lesson_t *lesson, float wanted)
{
    const float error = wanted - times(row, lesson->phi);
    for (int f = 0; f < FEATURES; f++) {
        row[f] = clamp(mac(lesson->along[f], error, row[f]), -ADAPTATION_FURTHEST,
                       ADAPTATION_FURTHEST);
    }
}

/* The turn of a sample that is being learned from. */
static void take_turn(adaptation_t *a)
{
    for (int g = 0; g < OUTPUT_GROUPS && a->turn < FOLLOW; g++) {
        lesson_t *const lesson = &a->lesson[g];
        knowledge_t *const known = &a->known[g];
        if (a->turn == WEIGH) {
            lesson->weight =
                weigh(known, SHARE(features_of[g]), lesson->phi, lesson->along);
        } else if (a->turn == FORGET) {
            forget(known, lesson->along, lesson->weight);
        } else {
            shrink(known, NOISE(error_of[g]), lesson->phi, lesson->along);
        }
    }
    for (int i = 0; i < OUTPUTS && a->turn == FOLLOW; i++) {
        follow(a->learned.row[i], &a->lesson[group_of[i]], a->wanted[i]);
    }
    a->turn = (uint8_t)((a->turn + 1) % TURNS);
}

static bool possible(const float values[OUTPUTS])
{
    bool within = all_finite(values, OUTPUTS);
    for (int i = 0; i < OUTPUTS; i++) {
        within = within && fabsf(values[i]) <= ADAPTATION_FURTHEST;
    }
    return within;
}

/* Has the measurement moved by what the map does not explain? The first one has nothing before it,
 * and is doubted as one that has jumped. */
static bool jumped(adaptation_t *a, const float y[OUTPUTS], const float z[OUTPUTS])
{
    float mapped[OUTPUTS];
    bool far = !a->begun;
    adaptation_output(a, y, mapped);
    for (int i = 0; i < OUTPUTS; i++) {
        const float left = z[i] - mapped[i];
        far = far || fabsf(left - a->left[i]) > JUMP;
        a->left[i] = left;
    }
    a->begun = true;
    return far;
}

/* The map that is taken goes on by what `unmoved` samples allow. */
static void move(adaptation_t *a)
{
    const float most = ADAPTATION_RATE / CONTROL_RATE_HZ * (float)a->unmoved;
    for (int i = 0; i < OUTPUTS; i++) {
        const float *const learned = a->learned.row[i];
        float *const taken = a->taken.row[i];
        float furthest = 0.0f;
        for (int f = 0; f < FEATURES; f++) {
            furthest = larger(furthest, fabsf(learned[f] - taken[f]));
        }
        const float share = furthest > most ? most / furthest : 1.0f;
        for (int f = 0; f < FEATURES; f++) {
            taken[f] = mac(share, learned[f] - taken[f], taken[f]);
        }
    }
    a->unmoved = 0;
}

/* A sample has passed; where other turns have more to do, the map waits for the last. */
static void pass(adaptation_t *a, bool begins)
{
    if (begins || a->turn != 0) {
        take_turn(a);
    }
    a->unmoved++;
    if (a->turn == 0) {
        move(a);
    }
    if (a->since_believed != UINT32_MAX) {
        a->since_believed++;
    }
}

void adaptation_rest(adaptation_t *adaptation)
{
    pass(adaptation, false);
}

void adaptation_update(adaptation_t *adaptation, const float y[OUTPUTS], const float z[OUTPUTS])
{
    bool sound = possible(y) && possible(z);
    if (sound) {
        adaptation->agreed = jumped(adaptation, y, z) ? 0 : adaptation->agreed;
        sound = adaptation->agreed == DOUBT_SAMPLES;
        adaptation->agreed = (uint16_t)(adaptation->agreed + !sound);
    }
    const bool begins = sound && adaptation->turn == 0;
    for (int g = 0; g < OUTPUT_GROUPS && begins; g++) {
        see(g, y, adaptation->lesson[g].phi);
    }
    for (int i = 0; i < OUTPUTS && begins; i++) {
        adaptation->wanted[i] = z[i] - y[i];
    }
    pass(adaptation, begins);
    if (sound) {
        adaptation->believed++;
        adaptation->since_believed = 0;
    } else {
        adaptation->doubted++;
    }
}

int adaptation_gain(int i, int j)
{
    return group_of[i] == group_of[j] ? place_of[j] : -1;
}

int adaptation_curve(int i, int slot)
{
    static const int8_t curve_of[CURVE_SLOTS] = {
        0, 1, GROUP_SIZE < 3 ? -1 : 2, GROUP_SIZE < 3 ? 2 : 3, 4, 5,
    };
    const int curve = curve_of[slot];
    return curves_of[group_of[i]] && curve < CURVES && curve >= 0 ? CURVE(curve) : -1;
}

float adaptation_ignorance(const adaptation_t *adaptation, int i, int element)
{
    return smaller(variance(&adaptation->known[group_of[i]], element), 1.0f);
}
