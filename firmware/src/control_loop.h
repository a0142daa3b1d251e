/* The control loop: bytes in, commands out. */
#ifndef CONTROL_LOOP_H
#define CONTROL_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "../boards/board.h"
#include "controller_config.h"
#include "frame.h"
#include "mpc.h"
#include "reference.h"
#include "supervisor.h"

/* One unit of a signal on the wire. */
#define SIGNAL_LSB 1e-4f

/* A longer gap than this cannot be bridged by holding the command: the host has to reset. */
#define GAP_MAX 100u

/* Normalised = (physical - offset) / scale. The model and the MPC see normalised values only. */
typedef struct {
    float command_offset[COMMANDS]; /* rad */
    float command_scale[COMMANDS];
    float output_offset[OUTPUTS]; /* m */
    float output_scale;           /* one for all axes, so that errors stay isotropic */
    float signal_offset[SIGNAL_SLOTS];
    float signal_scale[SIGNAL_SLOTS];
    mpc_config_t mpc;
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
    mpc_state_t mpc;
    reference_t reference;
    supervisor_t supervisor;
} control_loop_t;

/* Starts afresh and says BOOT. */
void control_loop_start(control_loop_t *loop, board_t *board, const controller_config_t *config);

/* Takes every byte that has come and answers every whole frame among them. */
void control_loop_poll(control_loop_t *loop);

#endif
