/* Samples of the sensor: are they such as the sensor can give, and how old is the newest? */
#ifndef SENSING_H
#define SENSING_H

#include <stdbool.h>
#include <stdint.h>

#include "instruments/instruments.h"
#include "loop/supervisor.h"

#define PERIOD_US ((uint32_t)(1e6f / CONTROL_RATE_HZ + 0.5f))

typedef struct {
    int32_t counts[SENSOR_SLOTS]; /* of the newest plausible sample */
    bool any;                     /* there has been one */
    bool fresh;                   /* no control sample has used it yet */
    uint8_t fault;                /* cause_t of the newest sample */
    uint16_t equal;               /* samples in a row that were equal to that before them */
    uint32_t at_us;               /* when the newest plausible sample was complete */
    uint32_t came_us;             /* when the newest one was, plausible or not, */
    uint32_t interval_us;         /* and how far apart they come, in the mean; 0: not known */
    uint32_t dropped;             /* by the decoder, until now */
    uint32_t implausible;         /* samples, until now */
} sensing_t;

/* A run begins: the first sample has none before it. */
void sensing_start(sensing_t *sensing, uint32_t now_us);

/* Takes a byte. True: a sample is complete, or one that was none has ended. */
bool sensing_take(sensing_t *sensing, sensor_t *sensor, const sensor_config_t *config,
                  const limits_t *limits, uint8_t byte, uint32_t now_us);

#endif
