/* The control loop: bytes in, commands out. */
#ifndef CONTROL_LOOP_H
#define CONTROL_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "boards/board.h"
#include "controller_config.h"
#include "loop/estimate.h"
#include "loop/reference_ring.h"
#include "loop/settings.h"
#include "loop/supervisor.h"
#include "solver/mpc.h"
#include "wire/frame.h"
#include "wire/message.h"

/* One unit of a signal on the wire. */
#define SIGNAL_LSB 1e-4f

/* A longer gap than this cannot be bridged by holding the command: the host has to reset. */
#define GAP_MAX 100u

/* What is fixed when a firmware is built. The network and the MPC see normalised values only. */
typedef struct {
    units_t units;
    float signal_offset[SIGNAL_SLOTS];
    float signal_scale[SIGNAL_SLOTS];
#if SIGNAL_ESTIMATE
    float signal_map[OUTPUTS][SIGNALS]; /* outputs = map * signals, both normalised */
    float signal_trust[OUTPUTS]; /* variance of a measured output over that of the signals' */
#endif
    settings_t settings; /* until CONFIGURE brings others; its bounds can only become narrower */
    const char *model_hash; /* 16 hex digits each */
    const char *build_id;
} controller_config_t;

extern const controller_config_t controller_config;

typedef struct {
    board_t *board;
    const controller_config_t *config;
    frame_decoder_t decoder;
    bool running; /* a RESET has come */
    uint32_t next_k;
    bool answered;     /* the sample before next_k, */
    command_t command; /* with this, which is sent again where it did not arrive */
    settings_t settings;
    mpc_config_t mpc_config; /* the same normalised, the offset taken off the outputs' bounds */
    mpc_state_t mpc;
    estimate_t estimate;
    bool measured;          /* a MEASUREMENT of sample measured_k has come: */
    uint32_t measured_k;
    float outputs[OUTPUTS]; /* normalised */
    reference_ring_t reference;
    supervisor_t supervisor;
} control_loop_t;

/* Starts afresh and says BOOT. */
void control_loop_start(control_loop_t *loop, board_t *board, const controller_config_t *config);

/* Takes every byte that has come and answers every whole frame among them. */
void control_loop_poll(control_loop_t *loop);

#endif
