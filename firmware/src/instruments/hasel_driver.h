/* The high-voltage driver of HASEL actuators: a frame of wire/frame.h each way a sample. It disarms
 * by itself when no good frame has come for 50 ms. */
#ifndef HASEL_DRIVER_H
#define HASEL_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controller_config.h"
#include "instruments/actuator_status.h"
#include "wire/frame.h"

#define HASEL_DRIVER_DUTY 0x20u   /* flags u8, counter u8, duty u16 an actuator */
#define HASEL_DRIVER_STATUS 0x21u /* state u8, faults u8, supply u16 in V, temperature i16, 0.1 C */
#define HASEL_DRIVER_ARM 0x01u

typedef struct {
    float steps_per_unit; /* of the command */
    float zero_steps;     /* at command 0 */
    uint16_t full_steps;  /* of full duty */
} hasel_driver_config_t;

typedef struct {
    frame_decoder_t decoder;
    uint8_t counter;
} hasel_driver_t;

/* The bytes of a sample: drive arms the driver and sets duties, disarm takes the voltage away. */
size_t hasel_driver_drive(hasel_driver_t *driver, const hasel_driver_config_t *config,
                          const float command[COMMANDS], uint8_t out[ACTUATOR_BYTES_MAX]);
size_t hasel_driver_disarm(hasel_driver_t *driver, const hasel_driver_config_t *config,
                           uint8_t out[ACTUATOR_BYTES_MAX]);

bool hasel_driver_decode(hasel_driver_t *driver, const hasel_driver_config_t *config, uint8_t byte,
                         actuator_status_t *status);

#endif
