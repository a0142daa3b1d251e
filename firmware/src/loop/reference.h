/* The reference over the horizon, from one of two sources that share one memory of normalised
 * points.
 *
 * Streamed, each point comes under the number of its sample. That of sample k stands in slot
 * k % REFERENCE_POINTS, and a bit of `known` says that it has come. With REFERENCE_POINTS = 8, at
 * sample 9, with the points of 9 .. 12 known:
 *
 *     slot      0    1    2    3    4    5    6    7
 *     known     0    9   10   11   12    0    0    0
 *
 * Uploaded, the points are a trajectory at equal distances in time. A sample goes `step` of its
 * way, in units of 2^-32 of it: a periodic trajectory comes round where the number wraps, one that
 * is not stays at its end. Between two points the reference is a straight line. From where the run
 * starts it moves towards the trajectory at bounded speed, output by output, until it has met it.
 *
 * A trajectory once around in 943 samples has step = 2^32 / 943; at sample 100 after the start it
 * has gone 0.106 of its way: of 1200 points it is between the numbers 127 and 128. */
#ifndef REFERENCE_H
#define REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "controller_config.h"

/* Samples. A longer gap cannot be bridged by holding the command: the host has to arm anew. */
#define GAP_MAX 100u

typedef struct {
    float points[REFERENCE_POINTS][OUTPUTS];
    uint8_t known[(REFERENCE_POINTS + 7) / 8];
    float before[OUTPUTS]; /* the point that was used for the present sample */
    uint32_t start;        /* k of the first sample */
    uint32_t now;          /* k of the present one */
    uint32_t lost;         /* points replaced by their predecessor since reset */
    uint16_t count;        /* points of the trajectory; 0: they are streamed */
    bool periodic;
    uint32_t step;
    float blend[OUTPUTS]; /* the largest move of a sample until the trajectory is met */
    bool met[OUTPUTS];
} reference_t;

/* A run starts at sample k, where `point` is the reference before it. A trajectory stays; streamed
 * points of other runs are forgotten. */
void reference_reset(reference_t *reference, uint32_t k, const float point[OUTPUTS]);

/* Stores the point of sample k. A point outside of now .. now + REFERENCE_POINTS - 1, or one that
 * is not finite, is dropped: it counts as lost when its turn comes. Nothing changes where a
 * trajectory is followed. */
void reference_put(reference_t *reference, uint32_t k, const float point[OUTPUTS]);

/* The present sample becomes k; it may only grow. */
void reference_advance(reference_t *reference, uint32_t k);

/* horizon[j] becomes the point of sample now + j + 1. Returns how many points had to be made up. */
uint32_t reference_horizon(reference_t *reference, float horizon[HORIZON][OUTPUTS]);

/* Is there anything to follow: a trajectory, or streamed points behind the present sample? */
bool reference_ahead(const reference_t *reference);

/* The end of the stream: the points of all samples before it, from now on, have come. */
uint32_t reference_end(const reference_t *reference);

/* A trajectory comes in pieces, in any order; the first one forgets what was there. False where
 * they do not fit or are not finite. */
bool reference_upload(reference_t *reference, uint32_t first, uint32_t count,
                      const float points[][OUTPUTS]);

/* The trajectory is complete and will be followed; count 0: none will, points are streamed. False
 * if a point has not come, if it never moves, or a blend is negative or NaN; it may be infinite. */
bool reference_follow(reference_t *reference, uint32_t count, bool periodic, uint32_t step,
                      const float blend[OUTPUTS]);

#endif
