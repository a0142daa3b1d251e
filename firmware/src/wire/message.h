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

#define PROTOCOL_VERSION 9

/* One line a message that a host sends:
 *
 *   X(NAME, name, type, when, order)
 *
 *   NAME    NAME_FIELDS below lists its payload
 *   name    answer_name() in loop/answers.c takes it
 *   when    ANY_TIME; RUNNING: only when armed, running or holding; RESTING: only when not.
 *           Else MESSAGE_WRONG_STATE
 *   order   IN_ORDER: its k must be that of the next sample, or at most GAP_MAX later, or that of
 *           the last one, which is answered again; else MESSAGE_OUT_OF_ORDER.
 *           ANY_ORDER: it has no k, or any k will do */
#define MESSAGES_FROM_HOST(X)                                    \
    X(HELLO, hello, 0x01, ANY_TIME, ANY_ORDER)                   \
    X(ARM, arm, 0x02, ANY_TIME, ANY_ORDER)                       \
    X(REFERENCE, reference, 0x03, RUNNING, ANY_ORDER)            \
    X(SAMPLE, sample, 0x04, RUNNING, IN_ORDER)                   \
    X(OBSERVE, observe, 0x05, RUNNING, IN_ORDER)                 \
    X(MEASUREMENT, measurement, 0x06, RUNNING, ANY_ORDER)        \
    X(CONFIGURE, configure, 0x07, ANY_TIME, ANY_ORDER)           \
    X(STOP, stop, 0x08, ANY_TIME, ANY_ORDER)                     \
    X(DRIVE, drive, 0x09, RUNNING, ANY_ORDER)                    \
    X(HEARTBEAT, heartbeat, 0x0A, ANY_TIME, ANY_ORDER)           \
    X(TRAJECTORY, trajectory, 0x0B, RESTING, ANY_ORDER)          \
    X(TRAJECTORY_END, trajectory_end, 0x0C, RESTING, ANY_ORDER)  \
    X(SWITCH, switch, 0x0D, RUNNING, ANY_ORDER)                  \
    X(ADAPT, adapt, 0x0E, RESTING, ANY_ORDER)                    \
    X(ASK_ADAPTATION, ask_adaptation, 0x0F, ANY_TIME, ANY_ORDER) \
    X(KEEP, keep, 0x10, ANY_TIME, ANY_ORDER)

/* One line a message that the firmware sends:
 *
 *   X(NAME, name, type)
 *
 *   NAME    as above
 *   name    name_t is the struct with its fields */
#define MESSAGES_TO_HOST(X)       \
    X(BOOT, boot, 0x81)           \
    X(INFO, info, 0x82)           \
    X(TELEMETRY, telemetry, 0x83) \
    X(ERROR, error, 0x84)         \
    X(CRASH, crash_report, 0x85)  \
    X(ADAPTATION, adaptation_report, 0x86) \
    X(KEPT, kept_report, 0x87)

/* The payloads, field by field in the order of the wire: F(S, kind, count, member). `member` is
 * one of the struct S, which is request_t for all messages of a host and name_t for those of the
 * firmware. A kind is u8, u16, u32 or f32; from a host also points, which is a u8 with
 * their number and then OUTPUTS f32 for each; to a host also text, `count` characters padded
 * with zeros. */
#define HELLO_FIELDS(F, S) F(S, u8, 0, line) /* none: C has no empty arrays */
#define ARM_FIELDS(F, S)                 \
    F(S, u32, 1, k)                      \
    F(S, u32, 1, host_us)                \
    F(S, u8, sizeof(modes_t), modes)     \
    F(S, u32, 1, tethered_samples)       \
    F(S, u16, 1, times.host_timeout_ms)   \
    F(S, u16, 1, times.sensor_timeout_ms) \
    F(S, u16, 1, times.age_max_ms)       \
    F(S, f32, COMMANDS, command)         \
    F(S, f32, OUTPUTS, outputs)
#define REFERENCE_FIELDS(F, S) \
    F(S, u32, 1, k)            \
    F(S, points, 1, points.at)
#define SAMPLE_FIELDS(F, S)     \
    F(S, u32, 1, k)             \
    F(S, u32, 1, host_us)       \
    F(S, f32, SIGNALS, signals) \
    F(S, f32, OUTPUTS, points.at)
#define OBSERVE_FIELDS(F, S)    \
    F(S, u32, 1, k)             \
    F(S, f32, SIGNALS, signals) \
    F(S, f32, COMMANDS, command)
#define MEASUREMENT_FIELDS(F, S) \
    F(S, u32, 1, k)              \
    F(S, u32, 1, host_us)        \
    F(S, f32, OUTPUTS, outputs)
#define CONFIGURE_FIELDS(F, S) F(S, f32, sizeof(settings_t) / sizeof(float), settings)
#define STOP_FIELDS(F, S) HELLO_FIELDS(F, S)
#define DRIVE_FIELDS(F, S) \
    F(S, u32, 1, k)        \
    F(S, u32, 1, host_us)  \
    F(S, f32, COMMANDS, command)
#define HEARTBEAT_FIELDS(F, S) \
    F(S, u32, 1, host_us)      \
    F(S, u32, 1, received)
#define TRAJECTORY_FIELDS(F, S) \
    F(S, u16, 1, first)         \
    F(S, points, 1, points.at)
#define TRAJECTORY_END_FIELDS(F, S) \
    F(S, u16, 1, count)             \
    F(S, u8, 1, periodic)           \
    F(S, u32, 1, step)              \
    F(S, f32, OUTPUTS, outputs)
#define SWITCH_FIELDS(F, S) \
    F(S, u32, 1, k)         \
    F(S, u8, 1, modes.source)
#define ADAPT_FIELDS(F, S)      \
    F(S, u8, 1, row)            \
    F(S, f32, OUTPUTS, outputs) \
    F(S, f32, 1, row_offset)    \
    F(S, f32, MESSAGE_CURVES, row_curve)
#define ASK_ADAPTATION_FIELDS(F, S) F(S, u8, 1, row)
#define KEEP_FIELDS(F, S) F(S, u8, 1, keep)

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
    F(S, u16, 1, trajectory_points)           \
    F(S, u8, 1, state)                        \
    F(S, u8, 1, cause)                        \
    F(S, u8, 1, source)                       \
    F(S, u32, 1, source_k)                    \
    F(S, u32, sizeof(counters_t) / sizeof(uint32_t), counters)
#define TELEMETRY_FIELDS(F, S)    \
    F(S, u32, 1, k)               \
    F(S, u32, 1, time_us)         \
    F(S, u32, 1, number)          \
    F(S, u8, 1, state)            \
    F(S, u8, 1, cause)            \
    F(S, u16, 1, flags)           \
    F(S, u8, 1, status)           \
    F(S, u8, 1, iterations)       \
    F(S, u16, 1, latency_us)      \
    F(S, f32, SIGNALS, signals)   \
    F(S, f32, COMMANDS, command)  \
    F(S, f32, OUTPUTS, predicted) \
    F(S, f32, OUTPUTS, reference) \
    F(S, f32, OUTPUTS, offset)    \
    F(S, f32, 1, cost)            \
    F(S, u32, 1, step_cost)       \
    F(S, u32, 1, missed_samples)  \
    F(S, u32, 1, telemetry_lost)  \
    F(S, u8, 1, actuator_errors)  \
    F(S, f32, 1, voltage)         \
    F(S, f32, 1, temperature)     \
    F(S, u32, 1, doubted)         \
    F(S, f32, OUTPUTS, uncertainty)
#define ERROR_FIELDS(F, S) \
    F(S, u8, 1, code)      \
    F(S, u8, 1, type)
#define CRASH_FIELDS(F, S)    \
    F(S, u8, 1, cause)        \
    F(S, u32, 6, registers)
#define ADAPTATION_FIELDS(F, S)  \
    F(S, u8, 1, row)             \
    F(S, u32, 1, believed)       \
    F(S, u32, 1, doubted)        \
    F(S, f32, OUTPUTS, gain)     \
    F(S, f32, 1, offset)         \
    F(S, f32, 1, gain_ignorance) \
    F(S, f32, 1, offset_ignorance) \
    F(S, f32, MESSAGE_CURVES, curve) \
    F(S, f32, 1, curve_ignorance)
#define KEPT_FIELDS(F, S)   \
    F(S, u8, 1, can_keep)   \
    F(S, u32, 1, number)

#define MESSAGE_HASH_SIZE 16
#define MESSAGE_BOARD_SIZE 16
#define MESSAGE_CURVES 6 /* products of the coordinates of a point: CURVE_SLOTS of the map */
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
    MESSAGE_TOO_OLD = 6,
    MESSAGE_INCOMPLETE = 7, /* a trajectory of which points have not come, or none at all */
    MESSAGE_WRONG_IMAGE = 8, /* the firmware is damaged, or another board's */
    MESSAGE_NOT_KEPT = 9     /* no memory that outlasts the power, or it has failed */
} message_error_t;

/* What ARM chooses, one byte each. */
typedef struct {
    uint8_t clock;     /* clock_choice_t: what a control period is measured by */
    uint8_t wiring;    /* wiring_t: where the instruments are */
    uint8_t source;    /* source_t: where commands come from; SWITCH chooses another */
    uint8_t adapts;    /* 1: measured outputs teach what the robot of today is like */
    uint8_t host_lost; /* host_lost_t */
} modes_t;

typedef enum { CLOCK_SAMPLES, CLOCK_TIMER, CLOCKS } clock_choice_t;
typedef enum { WIRING_HOST, WIRING_MCU, WIRINGS } wiring_t;
/* The solver, DRIVE of the host, or the command that was told last. */
typedef enum { SOURCE_MPC, SOURCE_HOST, SOURCE_HOLD, SOURCES } source_t;
/* What KEEP wants of what outlasts the power: nothing but an answer, or that settings and map are
 * put there, or forgotten. */
typedef enum { KEEP_ASK, KEEP_STORE, KEEP_FORGET, KEEP_CHOICES } keep_choice_t;
typedef enum { HOST_LOST_CONTINUE, HOST_LOST_HOLD, HOST_LOST_STOP, HOST_LOST_CHOICES } host_lost_t;

/* Silences that count; 0: none does. */
typedef struct {
    uint16_t host_timeout_ms;
    uint16_t sensor_timeout_ms;
    uint16_t age_max_ms; /* of a message, by the host's clock, beyond that of the freshest */
} times_t;

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
    modes_t modes;
    uint8_t periodic;
    uint8_t row;
    uint8_t keep; /* keep_choice_t */
    times_t times;
    uint16_t first;
    uint16_t count;
    uint32_t k;
    uint32_t host_us; /* the host's clock when it sent this */
    uint32_t received;
    uint32_t step;
    uint32_t tethered_samples;
    float row_offset;
    float row_curve[MESSAGE_CURVES];
    float signals[SIGNAL_SLOTS];
    float command[COMMANDS];
    float outputs[OUTPUTS];
    struct {
        uint32_t count; /* SAMPLE brings one point and leaves this at zero */
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

/* The first seven begin anew with ARM, the others with the start of the firmware. */
typedef struct {
    uint32_t missed_samples;    /* that never came, or whose step was late */
    uint32_t lost_points;       /* of the reference, made up */
    uint32_t telemetry_sent;
    uint32_t telemetry_lost;    /* by the host's count of those that came */
    uint32_t telemetry_dropped; /* the line had no room */
    uint32_t refused;           /* messages that were too old */
    uint32_t limited;           /* commands that the gate had to change */
    uint32_t bad_frames;
    uint32_t sensor_samples;
    uint32_t sensor_dropped;    /* damaged or implausible */
    uint32_t actuator_bad;      /* answers of the actuators */
    uint32_t step_cost_max;
    uint32_t stack_free;        /* bytes, 0: nobody knows */
} counters_t;

typedef struct {
    uint8_t version;
    const char *model_hash;
    const char *build_id;
    const char *board;
    info_sizes_t sizes;
    uint8_t step_cost_unit;
    float rate_hz;
    uint16_t trajectory_points;
    uint8_t state; /* state_t and cause_t of loop/supervisor.h */
    uint8_t cause;
    uint8_t source;    /* source_t, the one that was chosen last, */
    uint32_t source_k; /* and its first sample, which may be still to come */
    counters_t counters;
} info_t;

typedef struct {
    uint32_t k;
    uint32_t time_us; /* by the clock of the microcontroller, when the sample was taken */
    uint32_t number;  /* of this TELEMETRY since ARM, from 0 */
    uint8_t state;
    uint8_t cause;
    uint16_t flags; /* supervisor_flag_t */
    uint8_t status; /* mpc_status_t, or MESSAGE_STATUS_NONE */
    uint8_t iterations;
    uint16_t latency_us; /* from the last byte of the sensor to those of the actuator */
    float signals[SIGNAL_SLOTS];
    float command[COMMANDS];
    float predicted[OUTPUTS];
    float reference[OUTPUTS];
    float offset[OUTPUTS];
    float cost;
    uint32_t step_cost;
    uint32_t missed_samples;
    uint32_t telemetry_lost;
    uint8_t actuator_errors;
    float voltage; /* of the actuators' supply, V; 0: not known */
    float temperature; /* of the actuator that has spoken last, degrees C; 0: not known */
    uint32_t doubted; /* bit i: signal i, of the first 32, is not believed */
    float uncertainty[OUTPUTS]; /* standard deviation of those of the network, by the signals */
} telemetry_t;

typedef struct {
    uint8_t code; /* message_error_t */
    uint8_t type; /* of the refused frame */
} error_t;

typedef struct {
    uint8_t cause;         /* crash_cause_t of boards/board.h */
    uint32_t registers[6]; /* pc, lr, psr, status, address, stack_free of crash_t */
} crash_report_t;

/* A row of what the robot of today does: with v = predicted - o, o the middle of the outputs that
 * were trained on, its outputs are o + gain v + offset + the sum of curve_ij v_i v_j. Physical
 * units. */
typedef struct {
    uint8_t row;
    uint32_t believed; /* samples that have taught it, and those that were not believed */
    uint32_t doubted;
    float gain[OUTPUTS];
    float offset;
    float gain_ignorance; /* shares of what was not known at first: of this column of the gain, */
    float offset_ignorance; /* and of this row's offset */
    float curve[MESSAGE_CURVES];
    float curve_ignorance; /* the largest of them; 0 where there are none */
} adaptation_report_t;

typedef struct {
    uint8_t can_keep; /* 0: this board has no memory that outlasts the power */
    uint32_t number;  /* of the copy that outlasts it, from 1 on; 0: the next start is as built */
} kept_report_t;

/* One field of a payload: `count` values of a kind at `offset` in the struct of the message. */
typedef struct {
    unsigned kind : 4;
    unsigned count : 12;
    unsigned offset : 16;
} message_field_t;

/* A line of either table; the firmware's own messages have no use for `when` and `in_order`. */
typedef struct {
    uint8_t type;
    uint8_t when;
    bool in_order;
    uint8_t field_count;
    const message_field_t *fields;
} message_line_t;

enum { ANY_TIME, RUNNING, RESTING };
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
