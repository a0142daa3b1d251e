/* From bounds and weights in physical units, as people and the wire give them, to those of the
 * solver. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdbool.h>

#include "controller_config.h"
#include "solver/problem.h"
#include "wire/message.h"

/* normalised = (physical - offset) / scale */
typedef struct {
    float command_offset[COMMANDS];
    float command_scale[COMMANDS];
    float output_offset[OUTPUTS];
    float output_scale[OUTPUTS]; /* equal along the axes of a point: its errors stay isotropic */
} units_t;

/* The largest weight and ratio that settings_valid lets through;
 * soft_control/control/mpc_settings.py holds its own limits within them. A weight of 1e16 / unit^2
 * times the square of a scale of 1e5 and of an error of a hundred scales is 1e30, so that costs
 * stay finite in float. */
#define WEIGHT_MAX 1e16f
#define DISTURBANCE_RATIO_MAX 1000.0f

/* Are there bounds that leave room, and weights that are not negative and not beyond the limits?
 * Bounds of commands and moves can only be narrower than those of `built`, what the firmware was
 * built with: these are finite, so nothing infinite passes. */
bool settings_valid(const settings_t *settings, const settings_t *built);

/* Sets `mpc` by `settings`. Commands that keep its bounds keep the physical ones but for the
 * last bits, which settings_command keeps. */
void settings_normalise(const settings_t *settings, const units_t *units, mpc_config_t *mpc);

/* The physical command of a normalised one, within its bounds to the last bit. */
float settings_command(const settings_t *settings, const units_t *units, int index,
                       float normalised);

#endif
