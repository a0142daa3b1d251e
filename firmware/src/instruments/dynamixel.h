/* Dynamixel AX-12A servos, Protocol 1.0, on one half-duplex line.
 *
 *     packet    FF FF id length instruction|error parameters .. checksum
 *     length    parameters + 2        checksum    ~(id + length + .. + last parameter) & FF
 *
 * Each sample sends the goals and the speed of all servos in one packet that nobody answers
 * (SYNC_WRITE), and behind it asks one servo, the next in turn, for position, speed, load, voltage
 * and temperature (READ_DATA, eight bytes from register 36). It answers while the line is idle;
 * nothing waits for it. Numbers of registers and bits are those of Robotis' manual. */
#ifndef DYNAMIXEL_H
#define DYNAMIXEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controller_config.h"
#include "instruments/actuator_status.h"

#define DYNAMIXEL_PARAMETERS_MAX 32

typedef struct {
    uint8_t id[COMMANDS];
    float counts_per_unit[COMMANDS]; /* of the command; 1023 counts are 300 degrees */
    float zero_count[COMMANDS];      /* at command 0 */
    uint16_t count_min[COMMANDS];    /* within the limits of the command, not beyond them */
    uint16_t count_max[COMMANDS];
    uint16_t speed[COMMANDS]; /* 1 .. 1023 in steps of 0.111 / min; 0: as fast as it can */
} dynamixel_config_t;

/* All zero: just started, nothing is known. */
typedef struct {
    bool torque;         /* the servos have been told to hold their goals */
    bool waiting;        /* for the answer of servo `asked` */
    uint8_t asked;       /* index of the servo that was asked last */
    uint32_t unanswered; /* questions */
    uint8_t size;        /* bytes of the packet that has begun */
    uint8_t packet[6 + DYNAMIXEL_PARAMETERS_MAX];
} dynamixel_t;

/* The bytes of a sample: drive moves to `command`, disarm lets go. Return how many. */
size_t dynamixel_drive(dynamixel_t *servos, const dynamixel_config_t *config,
                       const float command[COMMANDS], uint8_t out[ACTUATOR_BYTES_MAX]);
size_t dynamixel_disarm(dynamixel_t *servos, const dynamixel_config_t *config,
                        uint8_t out[ACTUATOR_BYTES_MAX]);

/* True: `byte` completes the answer of a servo, which `status` then has. */
bool dynamixel_decode(dynamixel_t *servos, const dynamixel_config_t *config, uint8_t byte,
                      actuator_status_t *status);

#endif
