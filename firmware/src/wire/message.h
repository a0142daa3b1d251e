/* Messages: what a frame's content means. docs/protocol.md is the specification. */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "controller_config.h"
#include "wire/frame.h"
#include "loop/settings.h"

#define PROTOCOL_VERSION 2

/* Payload of REFERENCE: k u32, count u8, points. As many points as a frame can hold. */
#define MESSAGE_POINTS_MAX ((FRAME_CONTENT_MAX - 6) / (4 * OUTPUTS))
#define MESSAGE_HASH_SIZE 16
#define MESSAGE_BOARD_SIZE 16
#define MESSAGE_STATUS_NONE 255 /* in place of a solver status: the solver was not asked */

#define MESSAGE_SAMPLE_SIZE (1 + 4 + 2 * SIGNALS + 4 * OUTPUTS)
#define MESSAGE_OBSERVE_SIZE (1 + 4 + 2 * SIGNALS + 4 * COMMANDS)
#define MESSAGE_RESET_SIZE (1 + 4 + 2 + 4 * COMMANDS + 4 * OUTPUTS)
#define MESSAGE_POSITION_SIZE (1 + 4 + 4 * OUTPUTS)
#define MESSAGE_CONFIGURE_SIZE (1 + 4 * (6 * COMMANDS + 5 * OUTPUTS + 1))
#define MESSAGE_COMMAND_SIZE (1 + 4 + 3 + 4 * COMMANDS + 4 * OUTPUTS + 4 + 4)
#if MESSAGE_SAMPLE_SIZE > FRAME_CONTENT_MAX || MESSAGE_OBSERVE_SIZE > FRAME_CONTENT_MAX \
    || MESSAGE_RESET_SIZE > FRAME_CONTENT_MAX || MESSAGE_COMMAND_SIZE > FRAME_CONTENT_MAX \
    || MESSAGE_CONFIGURE_SIZE > FRAME_CONTENT_MAX
#error "the rig has more commands, outputs or signals than one frame holds"
#endif

typedef enum {
    MESSAGE_HELLO = 0x01,
    MESSAGE_RESET = 0x02,
    MESSAGE_REFERENCE = 0x03,
    MESSAGE_SAMPLE = 0x04,
    MESSAGE_OBSERVE = 0x05,
    MESSAGE_POSITION = 0x06,
    MESSAGE_CONFIGURE = 0x07,
    MESSAGE_BOOT = 0x81,
    MESSAGE_INFO = 0x82,
    MESSAGE_COMMAND = 0x83,
    MESSAGE_ERROR = 0x84
} message_type_t;

typedef enum {
    MESSAGE_OK = 0,
    MESSAGE_UNKNOWN_TYPE = 1,
    MESSAGE_BAD_LENGTH = 2,
    MESSAGE_WRONG_STATE = 3,
    MESSAGE_OUT_OF_ORDER = 4,
    MESSAGE_BAD_VALUE = 5,
    MESSAGE_HOST_STALE = 6
} message_error_t;

/* Any message of the host, in physical units; a type leaves the fields it has not as they are. */
typedef struct {
    uint8_t type;
    uint8_t count; /* of points: any number in REFERENCE, one in SAMPLE */
    uint16_t host_timeout_ms;
    uint32_t k;
    int16_t signals[SIGNAL_SLOTS];
    float command[COMMANDS];
    float position[OUTPUTS];
    float points[MESSAGE_POINTS_MAX][OUTPUTS];
    settings_t settings;
} request_t;

typedef struct {
    const char *model_hash;
    const char *build_id;
    const char *board;
    uint8_t step_cost_unit;
    uint32_t missed_samples;
    uint32_t lost_points;
    uint32_t bad_frames;
} info_t;

typedef struct {
    uint32_t k;
    uint8_t status;
    uint8_t supervisor;
    uint8_t iterations;
    float command[COMMANDS];
    float predicted[OUTPUTS];
    float cost;
    uint32_t step_cost;
} command_t;

message_error_t message_decode(const uint8_t *content, size_t size, request_t *request);

/* Each writes the content of a frame and returns its size. */
size_t message_encode_boot(uint8_t content[FRAME_CONTENT_MAX], uint8_t reset_cause, const char *board);
size_t message_encode_info(uint8_t content[FRAME_CONTENT_MAX], const info_t *info);
size_t message_encode_command(uint8_t content[FRAME_CONTENT_MAX], const command_t *command);
size_t message_encode_error(uint8_t content[FRAME_CONTENT_MAX], message_error_t error, uint8_t type);

#endif
