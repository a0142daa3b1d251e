/* Three-axis magnetometers behind a board that sends a frame of wire/frame.h a sample:
 * MAGNETIC_TYPE u8, counter u8, i16 a channel.
 *
 * The counts of the first start_samples give each channel's offset, their mean, and are no samples
 * themselves. The counts of a sample are medians over the last `median` frames, less the offset.
 * soft_control/link/magnetic.py does the same; all of it is in whole numbers. */
#ifndef MAGNETIC_H
#define MAGNETIC_H

#include <stdbool.h>
#include <stdint.h>

#include "controller_config.h"
#include "wire/frame.h"

#define MAGNETIC_TYPE 0x10u
#define MAGNETIC_MEDIAN_MAX 5

typedef struct {
    uint8_t median;        /* 1, 3 or 5 */
    uint8_t start_samples; /* 0: there is no offset */
} magnetic_config_t;

/* All zero is a fresh decoder. */
typedef struct {
    uint32_t samples;
    uint32_t dropped; /* frames that were none, or of another length */
    uint32_t lost;    /* frames that never came, by the counter */
    frame_decoder_t decoder;
    bool any;
    uint8_t counter;
    uint8_t taken; /* frames for the offset */
    uint8_t next;  /* where in `last` the next frame goes */
    int32_t sum[SENSOR_SLOTS]; /* then the offset */
    int16_t last[MAGNETIC_MEDIAN_MAX][SENSOR_SLOTS];
} magnetic_t;

/* True: `byte` completes a sample, whose counts are then written. */
bool magnetic_decode(magnetic_t *decoder, const magnetic_config_t *config, uint8_t byte,
                     int32_t counts[SENSOR_SLOTS]);

#endif
