/* The control loop: bytes in, commands out.
 *
 * What makes a sample depends on where the instruments are and what the clock is:
 *
 *     wiring host                  SAMPLE or OBSERVE of the host
 *     wiring mcu, clock samples    a sample of the sensor: the same bits however fast it goes
 *     wiring mcu, clock timer      a control period of the board has passed; the newest signals */
#ifndef CONTROL_LOOP_H
#define CONTROL_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "boards/board.h"
#include "controller_config.h"
#include "instruments/instruments.h"
#include "loop/adaptation.h"
#include "loop/estimate.h"
#include "loop/host_clock.h"
#include "loop/observer.h"
#include "loop/reference.h"
#include "loop/sensing.h"
#include "loop/sensor_doubt.h"
#include "loop/settings.h"
#include "loop/supervisor.h"
#include "solver/mpc.h"
#include "supply/image.h"
#include "wire/frame.h"
#include "wire/message.h"

/* What is fixed when a firmware is built. The network and the MPC see normalised values only. */
typedef struct {
    units_t units;
    float signal_offset[SIGNAL_SLOTS];
    float signal_scale[SIGNAL_SLOTS];
    uint8_t signal_channel[SIGNAL_SLOTS];   /* of the sensor */
    float full_scale_counts[SIGNAL_SLOTS];  /* signal = counts / this; 0: a dead channel, 0 */
#if SIGNAL_MODEL
    signal_model_t signal_model;
#endif
#if OBSERVER
    observer_config_t observer;
#endif
#if SIGNAL_DOUBT
    doubt_config_t doubt;
#endif
    settings_t settings; /* until CONFIGURE brings others; its bounds can only become narrower */
    limits_t limits;
    sensor_config_t sensor;
    actuator_config_t actuator;
    const char *model_hash; /* 16 hex digits each */
    const char *build_id;
} controller_config_t;

extern const controller_config_t controller_config;

typedef struct {
    board_t *board;
    const controller_config_t *config;
    frame_decoder_t decoder;

    modes_t modes;
    times_t times;
    settings_t settings;
    mpc_config_t mpc_config; /* the same normalised, and what the robot makes of the outputs */
    mpc_state_t mpc;
    doubt_state_t doubt;     /* which signals are believed */
    observer_t observer;     /* by the signals: how far the network's outputs are off */
    adaptation_t adaptation; /* what the robot of today makes of these */
    estimate_t unexplained;  /* by measured outputs: of the robot's */
    uint16_t unmeasured;     /* samples since the last of them */
    uint32_t tethered_samples; /* measured outputs are waited for in so many samples of the run */
    reference_t reference;
    supervisor_t supervisor;
    counters_t counters;

    uint32_t next_k;
    uint32_t first_k;
    uint8_t source;    /* source_t that was chosen last; the one in force is that of modes */
    uint32_t source_k; /* from this sample on */
    bool answered;         /* the sample before next_k, */
    telemetry_t telemetry; /* with this, which is sent again where it did not arrive */

    host_clock_t host_clock;
    uint32_t armed_us;     /* by the host's clock: an ARM that comes again is known by it */
    uint32_t host_seen_us; /* when the last good frame came, by loop_time() */
    bool host_gone;        /* none has come for longer than it may be silent */
    bool measured;         /* outputs of sample measured_k have come: */
    uint32_t measured_k;
    float outputs[OUTPUTS]; /* normalised */
    bool driven;            /* the host's command for sample driven_k has come: */
    uint32_t driven_k;
    float drive[COMMANDS]; /* physical */

    sensor_t sensor;
    actuator_t actuator;
    sensing_t sensing;
    actuator_status_t status;
    uint16_t unanswered; /* samples since the last status of the actuators */
    uint32_t waiting;    /* samples of the sensor, for what the host has to say to the last */
    uint32_t due_us;     /* of the next control period, */
    uint32_t due_rest;   /* and what it is behind that, in parts of a us: mHz of the control rate */
    uint32_t gate_us;    /* when the last command left */
    bool late;           /* the step before was not done when the next one was due */
    uint8_t safe_state;  /* in which the safe output was driven last */
    uint8_t safe_bytes[ACTUATOR_BYTES_MAX]; /* for a fault handler */
    uint8_t image;        /* image_fault_t: a wrong one drives nothing */
    uint32_t kept_number; /* of the copy that outlasts the power; 0: the next start is as built */
} control_loop_t;

/* Starts afresh and says BOOT. */
void control_loop_start(control_loop_t *loop, board_t *board, const controller_config_t *config);

/* Takes every byte that has come, makes every sample that is due, and looks at the clock. */
void control_loop_poll(control_loop_t *loop);

/* ------------------------------------------------------------------ between this and answers.c */

/* Time in us that the time-outs are about: the board's, or that of the samples. */
uint32_t loop_time(const control_loop_t *loop);

/* The sample that is made next, so far as is known: one that waits for the host, say. */
uint32_t loop_next(const control_loop_t *loop);

/* The source that was chosen for sample k is in force. Where that is the host and no DRIVE has come
 * yet, it begins with what was told last. */
void loop_choose_source(control_loop_t *loop, uint32_t k);

/* One sample goes round once. A sample that is observed has its command with it. */
void loop_sample(control_loop_t *loop, uint32_t k, const float *observed);

/* `message` is the struct of that line of MESSAGES_TO_HOST. False: the line had no room. */
bool loop_send(control_loop_t *loop, int line, const void *message);

/* Answers the content of a good frame. */
message_error_t loop_answer(control_loop_t *loop, const uint8_t *content, size_t size);

/* Bytes that disarm the actuators. */
void loop_let_go(control_loop_t *loop);

void loop_send_info(control_loop_t *loop);
void loop_configure(control_loop_t *loop, const settings_t *settings);

#endif
