#include "solver/directions.h"

#if PUSHES

void directions_begin(directions_t *directions)
{
    /* Columns are worked by four: what is beyond the directions of a stage has to be zero. Of the
     * states a stage reads no columns but those that the stage before has written. */
    memset(directions->inputs, 0, sizeof directions->inputs);
    memset(directions->outputs, 0, sizeof directions->outputs);
}

/* The outputs of the last stage become the newest output lag. */
static void remember_outputs(directions_t *directions)
{
#if OUTPUT_LAGS > 0
    float *lags = directions->inputs + COMMAND_INPUTS * FK_PUSH_STRIDE;
    memmove(lags + OUTPUTS * FK_PUSH_STRIDE, lags,
            (OUTPUT_LAGS - 1) * sizeof directions->outputs);
    memcpy(lags, directions->outputs, sizeof directions->outputs);
#else
    (void)directions;
#endif
}

/* Lag l of a command at stage t is u_t-l, which moves by itself, or, in the tail, by the planned
 * commands that it follows from. */
static void move_commands(directions_t *directions, const plan_t *plan, int t)
{
    const int last = fewer(t, CONTROL_HORIZON - 1);
    for (int l = 0; l < INPUT_LAGS && l <= t; ++l) {
        for (int c = 0; c < COMMANDS; ++c) {
            float *row = directions->inputs + (l * COMMANDS + c) * FK_PUSH_STRIDE;
            for (int i = 0; i <= last; ++i) {
                row[i * COMMANDS + c] = sensitivities_command_slope(plan, i, t - l, c);
            }
        }
    }
}

void directions_push(directions_t *directions, network_t *network, const plan_t *plan, int t,
                     float y[OUTPUTS])
{
    if (t > 0) {
        remember_outputs(directions);
    }
    move_commands(directions, plan, t);
#if NETWORK_STATES > 0
    const float *before = directions->states[t % 2];
    float *after = directions->states[(t + 1) % 2];
#else
    const float *before = NULL;
    float *after = NULL;
#endif
    network_push(network, y, directions->inputs, before, directions->outputs, after,
                 fewer(t + 1, CONTROL_HORIZON) * COMMANDS, fewer(t, CONTROL_HORIZON) * COMMANDS,
                 t == REACH - 1);
}

#endif
