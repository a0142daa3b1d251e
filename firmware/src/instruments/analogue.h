/* Actuators of any kind behind a converter of one's own: a frame of wire/frame.h a sample, with the
 * commands in the units of the robot's description. They say nothing back. */
#ifndef ANALOGUE_H
#define ANALOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controller_config.h"
#include "instruments/actuator_status.h"

#define ANALOGUE_TYPE 0x30u
#define ANALOGUE_ENABLED 0x01u

typedef struct {
    uint8_t unused; /* C has no empty structs */
} analogue_config_t;

typedef struct {
    uint8_t counter; /* of frames, wraps */
    float command[COMMANDS]; /* the last one */
} analogue_t;

/* The bytes of a sample. Return how many. */
size_t analogue_drive(analogue_t *actuators, const analogue_config_t *config,
                      const float command[COMMANDS], uint8_t out[ACTUATOR_BYTES_MAX]);
size_t analogue_disarm(analogue_t *actuators, const analogue_config_t *config,
                       uint8_t out[ACTUATOR_BYTES_MAX]);

bool analogue_decode(analogue_t *actuators, const analogue_config_t *config, uint8_t byte,
                     actuator_status_t *status);

#endif
