#include "loop/settings.h"

#include "solver/number.h"

/* 0 .. high; a comparison with NaN is false. */
static bool within(const float *values, int count, float high)
{
    bool valid = true;
    for (int i = 0; i < count; i++) {
        valid = valid && values[i] >= 0.0f && values[i] <= high;
    }
    return valid;
}

static bool weights_valid(const float *weights, int count)
{
    return within(weights, count, WEIGHT_MAX);
}

/* Between two bounds that are the same infinity there is no number. */
static bool bounds_valid(const float *low, const float *high, int count)
{
    bool valid = true;
    for (int i = 0; i < count; i++) {
        valid = valid && low[i] <= high[i] && low[i] < INFINITY && high[i] > -INFINITY;
    }
    return valid;
}

static bool commands_narrower(const settings_t *settings, const settings_t *built)
{
    bool valid = true;
    for (int i = 0; i < COMMANDS; i++) {
        valid = valid && settings->command_min[i] >= built->command_min[i]
                && settings->command_max[i] <= built->command_max[i]
                && settings->move_max[i] >= 0.0f && settings->move_max[i] <= built->move_max[i];
    }
    return valid;
}

bool settings_valid(const settings_t *settings, const settings_t *built)
{
    return commands_narrower(settings, built)
           && bounds_valid(settings->command_min, settings->command_max, COMMANDS)
           && bounds_valid(settings->output_min, settings->output_max, OUTPUTS)
           && weights_valid(settings->move_weight, COMMANDS)
           && weights_valid(settings->command_weight, COMMANDS)
           && all_finite(settings->command_reference, COMMANDS)
           && weights_valid(settings->output_weight, OUTPUTS)
           && weights_valid(settings->terminal_weight, OUTPUTS)
           && weights_valid(settings->bound_weight, OUTPUTS)
           && within(&settings->disturbance_ratio, 1, DISTURBANCE_RATIO_MAX);
}

void settings_normalise(const settings_t *settings, const units_t *units, mpc_config_t *mpc)
{
    for (int i = 0; i < COMMANDS; i++) {
        const float offset = units->command_offset[i];
        const float scale = units->command_scale[i];
        /* What rounding can add to a move when two normalised commands, one a sum, become
         * physical. */
        const float size = larger(fabsf(settings->command_min[i]), fabsf(settings->command_max[i]));
        const float rounding = 8.0f * 0x1p-24f * (size + fabsf(offset));
        const float move_max = settings->move_max[i];
        mpc->command_min[i] = (settings->command_min[i] - offset) / scale;
        mpc->command_max[i] = (settings->command_max[i] - offset) / scale;
        mpc->move_max[i] = (move_max > rounding ? move_max - rounding : 0.0f) / scale;
        mpc->move_weight[i] = settings->move_weight[i] * scale * scale;
        mpc->command_weight[i] = settings->command_weight[i] * scale * scale;
        mpc->command_reference[i] = (settings->command_reference[i] - offset) / scale;
    }
    for (int i = 0; i < OUTPUTS; i++) {
        const float offset = units->output_offset[i];
        const float scale = units->output_scale[i];
        const float square = scale * scale;
        mpc->output_weight[i] = settings->output_weight[i] * square;
        mpc->terminal_weight[i] = settings->terminal_weight[i] * square;
        mpc->bound_weight[i] = settings->bound_weight[i] * square;
        mpc->output_min[i] = (settings->output_min[i] - offset) / scale;
        mpc->output_max[i] = (settings->output_max[i] - offset) / scale;
    }
}

float settings_command(const settings_t *settings, const units_t *units, int index,
                       float normalised)
{
    const float physical = normalised * units->command_scale[index] + units->command_offset[index];
    return clamp(physical, settings->command_min[index], settings->command_max[index]);
}
