/* Messages: what a frame's content means. docs/protocol.md is the specification.
 *
 * Two tables hold all messages, those that a host sends and those that the firmware sends.
 * Everything else follows from their lines: the numbers of the types, which lengths are right,
 * how a payload is read or written, in which state the firmware takes it (loop/control_loop.c)
 * and who answers it. A type that is in no line is refused as MESSAGE_UNKNOWN_TYPE. */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controller_config.h"
#include "wire/frame.h"

#define PROTOCOL_VERSION 4

/* One line a message that a host sends:
 *
 *   X(NAME, name, type, when, order)
 *
 *   NAME    NAME_FIELDS below lists its payload
 *   name    answer_name() in loop/control_loop.c takes it
 *   when    ANY_TIME, or RUNNING: only after RESET, else MESSAGE_WRONG_STATE
 *   order   IN_ORDER: its k must be that of the next sample, or at most GAP_MAX later, or that of
 *           the last one, which is answered again; else MESSAGE_OUT_OF_ORDER; ANY_ORDER: it has no k, or any k will do */
#define MESSAGES_FROM_HOST(X)                              \
    X(HELLO, hello, 0x01, ANY_TIME, ANY_ORDER)             \
    X(RESET, reset, 0x02, ANY_TIME, ANY_ORDER)             \
    X(REFERENCE, reference, 0x03, RUNNING, ANY_ORDER)      \
    X(SAMPLE, sample, 0x04, RUNNING, IN_ORDER)             \
    X(OBSERVE, observe, 0x05, RUNNING, IN_ORDER)           \
    X(MEASUREMENT, measurement, 0x06, RUNNING, ANY_ORDER)  \
    X(CONFIGURE, configure, 0x07, ANY_TIME, ANY_ORDER)     \
    X(STOP, stop, 0x08, ANY_TIME, ANY_ORDER)

/* One line a message that the firmware sends:
 *
 *   X(NAME, name, type)
 *
 *   NAME    as above
 *   name    name_t is the struct with its fields */
#define MESSAGES_TO_HOST(X)   \
    X(BOOT, boot, 0x81)       \
    X(INFO, info, 0x82)       \
    X(COMMAND, command, 0x83) \
    X(ERROR, error, 0x84)

/* The payloads, field by field in the order of the wire: F(S, kind, count, member). `member` is
 * one of the struct S, which is request_t for all messages of a host and name_t for those of the
 * firmware. A kind is u8, u16, i16, u32 or f32; from a host also points, which is a u8 with
 * their number and then OUTPUTS f32 for each; to a host also text, `count` characters padded
 * with zeros. */
#define HELLO_FIELDS(F, S) F(S, u8, 0, line) /* none: C has no empty arrays */
#define RESET_FIELDS(F, S)        \
    F(S, u32, 1, k)               \
    F(S, u16, 1, host_timeout_ms) \
    F(S, f32, COMMANDS, command)  \
    F(S, f32, OUTPUTS, outputs)
#define REFERENCE_FIELDS(F, S) \
    F(S, u32, 1, k)            \
    F(S, points, 1, points.at)
#define SAMPLE_FIELDS(F, S)     \
    F(S, u32, 1, k)             \
    F(S, i16, SIGNALS, signals) \
    F(S, f32, OUTPUTS, points.at)
#define OBSERVE_FIELDS(F, S)    \
    F(S, u32, 1, k)             \
    F(S, i16, SIGNALS, signals) \
    F(S, f32, COMMANDS, command)
#define MEASUREMENT_FIELDS(F, S) \
    F(S, u32, 1, k)              \
    F(S, f32, OUTPUTS, outputs)
#define CONFIGURE_FIELDS(F, S) F(S, f32, sizeof(settings_t) / sizeof(float), settings)
#define STOP_FIELDS(F, S) HELLO_FIELDS(F, S)

#define BOOT_FIELDS(F, S)    \
    F(S, u8, 1, version)     \
    F(S, u8, 1, reset_cause) \
    F(S, text, MESSAGE_BOARD_SIZE, board)
#define INFO_FIELDS(F, S)                     \
    F(S, u8, 1, version)                      \
    F(S, text, MESSAGE_HASH_SIZE, model_hash) \
    F(S, text, MESSAGE_HASH_SIZE, build_id)   \
    F(S, text, MESSAGE_BOARD_SIZE, board)     \
    F(S, u8, sizeof(info_sizes_t), sizes)     \
    F(S, u8, 1, step_cost_unit)               \
    F(S, f32, 1, rate_hz)                     \
    F(S, u32, 1, missed_samples)              \
    F(S, u32, 1, lost_points)                 \
    F(S, u32, 1, bad_frames)
#define COMMAND_FIELDS(F, S)      \
    F(S, u32, 1, k)               \
    F(S, u8, 1, status)           \
    F(S, u8, 1, supervisor)       \
    F(S, u8, 1, iterations)       \
    F(S, f32, COMMANDS, command)  \
    F(S, f32, OUTPUTS, predicted) \
    F(S, f32, 1, cost)            \
    F(S, u32, 1, step_cost)
#define ERROR_FIELDS(F, S) \
    F(S, u8, 1, code)      \
    F(S, u8, 1, type)

#define MESSAGE_HASH_SIZE 16
#define MESSAGE_BOARD_SIZE 16
#define MESSAGE_STATUS_NONE 255 /* in place of a solver status: the solver was not asked */

/* As many points of the reference as a frame can hold behind type, k and their number. */
#define MESSAGE_POINTS_MAX ((FRAME_CONTENT_MAX - 6) / (4 * OUTPUTS))

typedef enum {
    MESSAGE_OK = 0,
    MESSAGE_UNKNOWN_TYPE = 1,
    MESSAGE_BAD_LENGTH = 2,
    MESSAGE_WRONG_STATE = 3,
    MESSAGE_OUT_OF_ORDER = 4,
    MESSAGE_BAD_VALUE = 5,
    MESSAGE_HOST_STALE = 6
} message_error_t;

/* Bounds and weights as people and the wire give them: in physical units, in the order of the
 * wire, and floats only. Commands and outputs are in the units of the robot's description, weights
 * per unit squared. Bounds of the outputs may be infinite. */
typedef struct {
    float command_min[COMMANDS];
    float command_max[COMMANDS];
    float move_max[COMMANDS]; /* hard bound of a change in one sample */
    float move_weight[COMMANDS];
    float command_weight[COMMANDS];
    float command_reference[COMMANDS];
    float output_weight[OUTPUTS];
    float terminal_weight[OUTPUTS];
    float output_min[OUTPUTS];
    float output_max[OUTPUTS];
    float bound_weight[OUTPUTS];
    float disturbance_ratio; /* see loop/estimate.h */
} settings_t;

/* What messages of a host bring, in physical units. message_decode sets the members that the
 * fields of the message name, and leaves all others at zero. */
typedef struct {
    uint8_t line; /* of the message in MESSAGES_FROM_HOST, the first is 0 */
    uint16_t host_timeout_ms;
    uint32_t k;
    int16_t signals[SIGNAL_SLOTS];
    float command[COMMANDS];
    float outputs[OUTPUTS];
    struct {
        uint32_t count; /* in REFERENCE; SAMPLE brings one point and leaves this at zero */
        float at[MESSAGE_POINTS_MAX][OUTPUTS];
    } points;
    settings_t settings;
} request_t;

typedef struct {
    uint8_t version;
    uint8_t reset_cause;
    const char *board;
} boot_t;

typedef struct {
    uint8_t commands, outputs, signals;
    uint8_t input_lags, output_lags, input_delay;
    uint8_t horizon, control_horizon;
} info_sizes_t;

typedef struct {
    uint8_t version;
    const char *model_hash;
    const char *build_id;
    const char *board;
    info_sizes_t sizes;
    uint8_t step_cost_unit;
    float rate_hz;
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

typedef struct {
    uint8_t code; /* message_error_t */
    uint8_t type; /* of the refused frame */
} error_t;

/* One field of a payload: `count` values of a kind at `offset` in the struct of the message. */
typedef struct {
    unsigned kind : 4;
    unsigned count : 12;
    unsigned offset : 16;
} message_field_t;

/* A line of either table; the firmware's own messages have no use for `running` and `in_order`. */
typedef struct {
    uint8_t type;
    bool running;
    bool in_order;
    uint8_t field_count;
    const message_field_t *fields;
} message_line_t;

enum { ANY_TIME = false, RUNNING = true };
enum { ANY_ORDER = false, IN_ORDER = true };

/* FROM_HOST_HELLO, TO_HOST_BOOT ..: the number of a message's line in its table. */
#define FROM_HOST_LINE(NAME, name, type, when, order) FROM_HOST_##NAME,
enum { MESSAGES_FROM_HOST(FROM_HOST_LINE) FROM_HOST_LINES };
extern const message_line_t message_from_host[FROM_HOST_LINES];

#define TO_HOST_LINE(NAME, name, type) TO_HOST_##NAME,
enum { MESSAGES_TO_HOST(TO_HOST_LINE) TO_HOST_LINES };
extern const message_line_t message_to_host[TO_HOST_LINES];

/* Sets all of `request`. MESSAGE_UNKNOWN_TYPE or MESSAGE_BAD_LENGTH if content is no message of
 * a host; `request` must not be used then. */
message_error_t message_decode(const uint8_t *content, size_t size, request_t *request);

/* Writes the content of a frame by a line of message_to_host and returns its size. `message` is the
 * struct of that line: boot_t for TO_HOST_BOOT, and so on. */
size_t message_encode(const message_line_t *line, const void *message,
                      uint8_t content[FRAME_CONTENT_MAX]);

#endif
