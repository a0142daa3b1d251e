/* The supervisor: the state of the firmware, what takes it from one to another, and the gate that
 * no command leaves without. docs/protocol.md has the table of events.
 *
 *     boot -> idle -ARM-> armed -first sample-> running -host lost-> holding
 *               ^            |                     |  ^                 |
 *               |            +------ any event ----+  +------ ARM ------+
 *               |                       v
 *               +------ STOP ------ stopped, fault -ARM-> armed
 *
 * Stopped and fault are left by ARM and STOP only: whatever has passed by itself needs somebody who
 * looks. */
#ifndef SUPERVISOR_H
#define SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

#include "controller_config.h"
#include "wire/message.h"

typedef enum {
    STATE_BOOT,
    STATE_IDLE,    /* nothing is driven */
    STATE_ARMED,   /* everything is set; the first sample starts the run */
    STATE_RUNNING,
    STATE_HOLDING, /* the last command is held */
    STATE_STOPPED, /* safe output, because of the world outside */
    STATE_FAULT    /* safe output, because of the controller or its actuators */
} state_t;

/* Why a state is what it is. */
typedef enum {
    CAUSE_NONE,
    CAUSE_ASKED, /* STOP */
    CAUSE_HOST_LOST,
    CAUSE_SENSOR_SILENT,
    CAUSE_SENSOR_DAMAGED, /* samples that were none, or channels missing */
    CAUSE_SENSOR_RANGE,
    CAUSE_SENSOR_RATE,
    CAUSE_SENSOR_FROZEN,
    CAUSE_SOLVER_FAILED,
    CAUSE_DEADLINE_MISSED,
    CAUSE_ACTUATOR_ERROR,
    CAUSE_ACTUATOR_VOLTAGE,
    CAUSE_ACTUATOR_TEMPERATURE,
    CAUSE_ACTUATOR_SILENT,
    CAUSE_CRASHED,
    CAUSE_IMAGE_DAMAGED, /* the firmware itself; left by a restart only, as the next is */
    CAUSE_IMAGE_OF_OTHER_BOARD
} cause_t;

/* What a command went through; several may be set. */
typedef enum {
    SUPERVISOR_NOT_FINITE = 0x01, /* command or prediction was not finite: the last one was held */
    SUPERVISOR_LIMITED = 0x02,    /* the command broke a limit or the move limit and was cut */
    SUPERVISOR_HOST_STALE = 0x04, /* the host was silent for longer than its time-out */
    SUPERVISOR_GAP = 0x08,        /* samples before this one never came */
    SUPERVISOR_LOST_POINT = 0x10, /* a point of the reference was replaced by its predecessor */
    SUPERVISOR_SENSOR_HELD = 0x20, /* no fresh and plausible signals: those before were used */
    SUPERVISOR_LATE = 0x40        /* the step before was not done when this one was due */
} supervisor_flag_t;

typedef enum { SAFE_HOLD, SAFE_NEUTRAL, SAFE_DISARM } safe_output_t;

/* In a row: one is tolerated, or two, the next is an event. */
#define SENSOR_FAULTS_MAX 1u
#define SOLVER_FAILURES_MAX 2u
#define DEADLINE_MISSES_MAX 2u

/* What a robot can bear, in the units of its description; compiled in. */
typedef struct {
    float command_min[COMMANDS];
    float command_max[COMMANDS];
    float move_max[COMMANDS]; /* in a control period */
    float neutral[COMMANDS];
    float load_max[COMMANDS];  /* of the mean of (command - command_min); INFINITY */
    float load_share;          /* of a sample in that mean: 1 - exp(-period / time) */
    float voltage_min;         /* of the actuators' supply, V */
    float voltage_max;
    float temperature_max;     /* of an actuator, degrees C */
    uint16_t actuator_samples; /* without an answer of the actuators that are tolerated; 0: any */
    uint8_t actuator_errors;   /* bits that end a run */
    uint8_t safe_output;       /* safe_output_t */
    int32_t count_min;         /* of a channel of the sensor */
    int32_t count_max;
    int32_t count_step_max;    /* from sample to sample; 0: any */
    uint16_t frozen_samples;   /* equal in all channels that are tolerated; 0: any number */
} limits_t;

typedef struct {
    uint8_t state; /* state_t */
    uint8_t cause; /* cause_t */
    bool driving;             /* the actuators have been told a command, */
    float command[COMMANDS];  /* this one last, in physical units; else where a run begins */
    float load[COMMANDS];     /* the running mean that load_max is about */
    uint8_t sensor_faults;    /* in a row, as the next two */
    uint8_t solver_failures;
    uint8_t deadline_misses;
    uint32_t limited; /* commands that the gate had to change, since ARM */
} supervisor_t;

/* Is a command to be found and driven? */
bool supervisor_active(const supervisor_t *supervisor);

/* Everything is set for a run that begins at `command`, in physical units. Where nothing is driven
 * yet, the first move is from there, cut at the limits; a robot that is being driven is where it
 * is. */
void supervisor_arm(supervisor_t *supervisor, const limits_t *limits,
                    const float command[COMMANDS]);

/* An event. Stopped and fault are never left by it, and the first cause stays. */
void supervisor_enter(supervisor_t *supervisor, state_t state, cause_t cause);

/* What a sample showed: `fault` is CAUSE_NONE or what was wrong with the signals. How its command
 * was found, and whether that was in time. */
void supervisor_sensor(supervisor_t *supervisor, cause_t fault);
void supervisor_solver(supervisor_t *supervisor, bool failed);
void supervisor_deadline(supervisor_t *supervisor, bool missed);

/* Makes `command`, in physical units, safe to leave, and remembers it. If it is not finite or
 * `flags` say so, the command becomes the last one. It is moved within the bounds of `settings`,
 * then to where the load allows, then within the move limit around the last one, of which `share`
 * (0 .. 1) may be used because so much of a control period has passed, and at the end within the
 * limits: bounds that are narrowed around another place are reached at bounded speed. Returns
 * `flags` with those added that had to be used. */
unsigned supervisor_gate(supervisor_t *supervisor, const settings_t *settings,
                         const limits_t *limits, float share, float command[COMMANDS],
                         unsigned flags);

/* Somebody else has told the actuators `command`, which passed a gate there: the next one of ours
 * goes on from it. */
void supervisor_told(supervisor_t *supervisor, const limits_t *limits,
                     const float command[COMMANDS]);

/* Where the safe output leads to: the neutral command, or the last one, as also in holding. */
void supervisor_safe(const supervisor_t *supervisor, const limits_t *limits,
                     float command[COMMANDS]);

#endif
