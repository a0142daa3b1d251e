/* The map of the day: what the robot of today does where the network, trained on another day, says
 * y. Normalised, output by output,
 *
 *     z = gain y + offset        as trained: gain = identity, offset = 0
 *
 * It is learned from pairs (y, z measured), one a sample, by recursive least squares. Outputs that
 * together are a point, and each other one by itself, are a group: gains between groups stay 0,
 * for outputs that move together let them be told apart by nothing but noise. In its group
 * z = row . phi with phi = [y of the group, 1], which is FEATURES numbers, and the rows of a group
 * have one covariance P = U D U', over its prior. Of what samples have told, S = P^-1 - 1, a sample
 *
 *     S <- S - share S phi phi' S / (phi' S phi)      forgets along its phi, and nowhere else
 *     S <- S + phi phi' / NOISE                       learns: Bierman's update of U and D
 *
 * S stays positive semidefinite in both: P never exceeds its prior, so there is no windup, and what
 * a resting robot does not excite stays known for hours. In float32 that holds for each variance
 * within 1e-4; three hours without motion have moved it to 1.03 in a direction between the axes.
 *
 * Each sample forgets along one direction of FEATURES; share is such that all of them together
 * forget as much as with plain forgetting of half-life HALF_LIFE_S, those first that are excited
 * most. When a gain changes after 300 s, plain forgetting has half of the change behind it 30 s
 * later; this has 0.32, 0.35 and 0.42 of it with sines of 0.8 at 2, 3 and 9 outputs. At rest half
 * of what phi tells goes in HALF_LIFE_S / FEATURES.
 *
 * A measurement that jumps is not believed until it has agreed with itself for DOUBT_S. It jumps
 * where an output moves by more than JUMP in a sample that the map does not explain; the first
 * one, which has none before it, counts as a jump.
 *
 *     change of z - gain * change of y    0.01      0.01      0.41     0.01 ...     0.01
 *                                         believed  believed  doubted for DOUBT_S  believed
 *
 * The map that is taken follows the learned one at a bounded rate and stays within reach: a learned
 * one beyond it says that this is another robot, or another tracker's frame. */
#ifndef ADAPTATION_H
#define ADAPTATION_H

#include <stdbool.h>
#include <stdint.h>

#include "controller_config.h"
#include "solver/number.h"

/* Groups: their number, the size of the largest, and of each output its group and place there. */
#ifndef OUTPUT_GROUPS
#define OUTPUT_GROUPS 1
#define GROUP_SIZE OUTPUTS
#endif

/* Of a smaller group than the largest some are always 0. */
#define FEATURES (GROUP_SIZE + 1)

#define ADAPTATION_REACH 0.6f /* of each element from the trained one */
#define ADAPTATION_RATE 0.5f  /* of each element that is taken, a second */

typedef struct {
    float gain[OUTPUTS][OUTPUTS];
    float offset[OUTPUTS]; /* normalised */
} output_map_t;

/* What is known of a group's rows: P. */
typedef struct {
    /* Of U, whose diagonal is 1, column by column: U[i][j] is upper[j (j - 1) / 2 + i]. */
    float upper[FEATURES * (FEATURES - 1) / 2];
    float diagonal[FEATURES]; /* of D, in shares of the prior: above 0, at most 1 */
} knowledge_t;

typedef struct {
    output_map_t learned; /* wherever it is */
    output_map_t taken;   /* follows it: the one to use */
    knowledge_t known[OUTPUT_GROUPS];
    float output[OUTPUTS], measured[OUTPUTS]; /* of the last sample that was finite */
    bool begun;                               /* there has been one */
    uint16_t agreed;                          /* samples since a jump, at most those of DOUBT_S */
    uint32_t believed, doubted;               /* samples, since the start */
    uint32_t since_believed;                  /* samples since the last believed, or the start */
} adaptation_t;

/* As trained, and nothing known of today. */
void adaptation_start(adaptation_t *adaptation);

/* Begins with the map that an earlier run has taken, and takes it at once: between runs only. How
 * far it holds today is not known: P is the prior, around this map. False, and nothing changes, if
 * it is not finite or beyond reach. */
bool adaptation_set(adaptation_t *adaptation, const output_map_t *map);

/* A sample: what the network says and what is measured. One that is not finite, or further from 0
 * than an output can be, is doubted. */
void adaptation_update(adaptation_t *adaptation, const float y[OUTPUTS], const float z[OUTPUTS]);

/* A sample without measurement: what is taken goes on towards what was learned. */
void adaptation_rest(adaptation_t *adaptation);

/* z, by the map that is taken. */
static inline void adaptation_output(const adaptation_t *adaptation, const float y[OUTPUTS],
                                     float z[OUTPUTS])
{
    for (int i = 0; i < OUTPUTS; i++) {
        z[i] = adaptation->taken.offset[i];
        for (int j = 0; j < OUTPUTS; j++) {
            z[i] = mac(adaptation->taken.gain[i][j], y[j], z[i]);
        }
    }
}

/* Shares of the prior's variance that are left, 0 .. 1: in each gain column, and in each offset. */
void adaptation_ignorance(const adaptation_t *adaptation, float gain_ignorance[OUTPUTS],
                          float offset_ignorance[OUTPUTS]);

#endif
