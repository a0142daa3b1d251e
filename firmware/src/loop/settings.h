/* Bounds and weights as people and the wire give them, in physical units, and as the solver
 * wants them. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdbool.h>

#include "controller_config.h"
#include "solver/mpc.h"

/* In the order of the wire, floats only. Commands in rad, or the rig's own unit; outputs in m.
 * Bounds may be infinite. */
typedef struct {
    float command_min[COMMANDS];
    float command_max[COMMANDS];
    float move_max[COMMANDS];
    float move_weight[COMMANDS];    /* 1/rad^2 */
    float command_weight[COMMANDS]; /* 1/rad^2 */
    float command_reference[COMMANDS];
    float output_weight[OUTPUTS];   /* 1/m^2 */
    float terminal_weight[OUTPUTS]; /* 1/m^2 */
    float output_min[OUTPUTS];
    float output_max[OUTPUTS];
    float bound_weight[OUTPUTS]; /* 1/m^2 */
    float disturbance_ratio;     /* see disturbance.h */
} settings_t;

/* normalised = (physical - offset) / scale */
typedef struct {
    float command_offset[COMMANDS];
    float command_scale[COMMANDS];
    float output_offset[OUTPUTS];
    float output_scale; /* one for all axes, so that errors stay isotropic */
} units_t;

/* Bounds that leave room, weights that are finite and not negative. */
bool settings_valid(const settings_t *settings);

/* `mpc` keeps the physical bounds on its commands, but for the last bits, which settings_command
 * keeps. */
void settings_normalise(const settings_t *settings, const units_t *units, mpc_config_t *mpc);

/* Physical command of a normalised one, within its bounds to the last bit. */
float settings_command(const settings_t *settings, const units_t *units, int index,
                       float normalised);

#endif
