/* The map of the day: what the robot of today does where the network, trained on another day, says
 * y. Normalised, output by output,
 *
 *     z = y + row . phi       as trained: row = 0
 *
 * It is learned from pairs (y, z measured) by recursive least squares. Outputs that together are a
 * point, and each other one by itself, are a group, and phi is of the outputs of the group alone,
 * for outputs that move together let them be told apart by nothing but noise:
 *
 *     phi = [y of the group, 1, CURVE_SCALE y_i y_j for i <= j of a group that curves]
 *
 * A point curves where its position says how the robot stands: where the robot has no more commands
 * than the point has coordinates. A horn that was mounted anew moves the commands, and what that
 * does to the outputs is curved. Where more commands than that reach the same position in many
 * ways, what is off is no function of it, and the products learn noise: docs/adaptation.md has
 * figures of both.
 *
 * The rows of a group have one covariance P = U D U', over its prior. Of what samples have told,
 * S = P^-1 - 1, a sample
 *
 *     S <- S - share S phi phi' S / (phi' S phi)      forgets along its phi, and nowhere else
 *     S <- S + phi phi' / noise                       learns: Bierman's update of U and D
 *
 * S stays positive semidefinite in both: P never exceeds its prior, so there is no windup, and what
 * a resting robot does not excite stays known for hours. In float32 that holds for each variance
 * within 1e-4; three hours without motion have moved it to 1.03 in a direction between the axes.
 *
 * One sample of TURNS is learned from, and the work on it shared out over as many, so that no step
 * of the loop has all of it:
 *
 *     turn  0                          1         2                    3
 *           take y and z, weigh what   forget    learn: P and gains   the rows, and the map that
 *           is to be forgotten                                        is taken goes on
 *
 * A turn passes with each sample, measured or not: what is begun is ended. Neighbours are so alike
 * that nothing is lost by the other three.
 *
 * Each sample forgets along one direction of phi; share is such that all of them together forget as
 * much as with plain forgetting of half-life HALF_LIFE_S, those first that are excited most. When a
 * gain changes after 300 s, plain forgetting has half of the change behind it 60 s later; this has
 * 0.34, 0.37 and 0.44 of it with sines of 0.8 at 2, 3 and 9 outputs. At rest half of what phi tells
 * goes in HALF_LIFE_S over the number of features.
 *
 * A measurement that jumps is not believed until it has agreed with itself for DOUBT_S. It jumps
 * where an output moves by more than JUMP in a sample that the map does not explain; the first
 * one, which has none before it, counts as a jump.
 *
 *     change of z - map(y)    0.01      0.01      0.41     0.01 ...     0.01
 *                             believed  believed  doubted for DOUBT_S  believed
 *
 * The map that is taken goes towards the learned one on a straight line and at a bounded rate: each
 * map between the two is a mean of them. What it adds to an output is never more than
 *
 *     ADAPTATION_REACH (1 + sum of |y| of the group)
 *
 * a learned one beyond it says that this is another robot, or another tracker's frame. Elements of
 * the rows are no measure of that: of a robot with two commands a point has a surface to be on, and
 * y, its square and the other coordinates stand in for one another along it. */
#ifndef ADAPTATION_H
#define ADAPTATION_H

#include <stdbool.h>
#include <stdint.h>

#include "controller_config.h"

/* Groups: their number, the size of the largest, and of each output its group and place there. Of
 * each group how many elements of phi are not always 0, whether it curves, and what a free run of
 * the network errs by, RMS. */
#ifndef OUTPUT_GROUPS
#define OUTPUT_GROUPS 1
#define GROUP_SIZE OUTPUTS
#endif

/* Products of coordinates: of the largest group, if any curves. A point has at most three. */
#ifndef CURVES
#define CURVES 0
#endif
#define CURVE_SLOTS 6 /* on the wire, by the places of both: 00, 01, 02, 11, 12, 22 */
#define CURVE_SCALE 0.33f

/* Of a smaller group than the largest some are always 0. */
#define FEATURES (GROUP_SIZE + 1 + CURVES)

#define ADAPTATION_REACH 0.6f /* see above */
#define ADAPTATION_RATE 0.5f  /* of the element of a row that moves most, a second */
#define ADAPTATION_FURTHEST 10.0f /* an output, normalised, its measurement, an element of a row */

typedef struct {
    float row[OUTPUTS][FEATURES]; /* what is added to y, by phi of the output's group */
} output_map_t;

/* What is known of a group's rows: P. */
typedef struct {
    /* Of U, whose diagonal is 1, column by column: U[i][j] is upper[j (j - 1) / 2 + i]. */
    float upper[FEATURES * (FEATURES - 1) / 2];
    float diagonal[FEATURES]; /* of D, in shares of the prior: above 0, at most 1 */
} knowledge_t;

/* A sample that is being learned from, of one group. */
typedef struct {
    float phi[FEATURES];
    float along[FEATURES]; /* where P grows when it forgets, then the gains of what it learns */
    float weight;          /* of the former */
} lesson_t;

typedef struct {
    output_map_t learned; /* wherever it is */
    output_map_t taken;   /* follows it: the one to use */
    knowledge_t known[OUTPUT_GROUPS];
    lesson_t lesson[OUTPUT_GROUPS];
    float wanted[OUTPUTS]; /* z - y of that sample */
    float left[OUTPUTS];   /* z - map(y) of the last sample that was finite */
    uint8_t turn;          /* the next one; 0: nothing is being learned from */
    uint8_t unmoved;       /* samples for which the map that is taken has stood still */
    bool begun;            /* there has been a finite sample */
    uint16_t agreed;       /* samples since a jump, at most those of DOUBT_S */
    uint32_t believed, doubted; /* samples, since the start */
    uint32_t since_believed;    /* samples since the last believed, or the start */
} adaptation_t;

/* As trained, and nothing known of today. */
void adaptation_start(adaptation_t *adaptation);

/* Begins with the map that an earlier run has taken, and takes it at once: between runs only. How
 * far it holds today is not known: P is the prior, around this map. False, and nothing changes, if
 * an element is not finite or beyond ADAPTATION_FURTHEST, by more than conversions round it. */
bool adaptation_set(adaptation_t *adaptation, const output_map_t *map);

/* A sample: what the network says and what is measured. One that is not finite, or further from 0
 * than an output can be, is doubted. */
void adaptation_update(adaptation_t *adaptation, const float y[OUTPUTS], const float z[OUTPUTS]);

/* A sample without measurement: what is taken goes on towards what was learned. */
void adaptation_rest(adaptation_t *adaptation);

/* z, by the map that is taken. */
void adaptation_output(const adaptation_t *adaptation, const float y[OUTPUTS], float z[OUTPUTS]);

/* That map around y: what it adds there, and the slopes of that by y. */
void adaptation_linearise(const adaptation_t *adaptation, const float y[OUTPUTS],
                          float added[OUTPUTS], float slopes[OUTPUTS][OUTPUTS]);

/* How a row looks on the wire: which element of output i's is its gain over output j, less the 1 of
 * its own, and which is of the product in a slot; -1: there is none, and the wire has 0. */
int adaptation_gain(int i, int j);
int adaptation_curve(int i, int slot);
#define ADAPTATION_OFFSET GROUP_SIZE

/* What is not known of an element of output i's row, a share of the prior's variance: 0 .. 1. */
float adaptation_ignorance(const adaptation_t *adaptation, int i, int element);

#endif
