/* Hostile signals for sensor_doubt.c: what is held must stay bounded, whatever comes. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "hostile.h"
#include "loop/sensor_doubt.h"
#include "solver/number.h"

static doubt_config_t config(void)
{
    doubt_config_t made = {.agreeing_samples = 60, .settled_samples = 150};
    for (int i = 0; i < SIGNALS; i++) {
        made.per_gate[i] = uniform(0.05f, 1.0f);
        for (int j = 0; j < SIGNALS; j++) {
            made.others[i][j] = i == j ? 0.0f : uniform(-3.0f, 3.0f);
        }
        made.slack[i] = uniform(0.01f, 0.5f);
        made.per_sum[i] = uniform(0.1f, 10.0f);
        made.low[i] = -5.0f;
        made.high[i] = 5.0f;
        made.still_max[i] = (uint16_t)(random_bits() % 3u == 0u ? UINT16_MAX : 35u);
    }
    return made;
}

static signal_model_t model(void)
{
    signal_model_t made;
    fill(&made.hidden[0][0], SIGNAL_UNITS * (MODEL_INPUTS + 1), 3u);
    fill(&made.weights[0][0], SIGNALS * MODEL_FEATURES, 3u);
    return made;
}

int main(int count, char **arguments)
{
    const long steps = count > 1 ? atol(arguments[1]) : 0;
    doubt_config_t chosen = config();
    signal_model_t known = model();
    doubt_state_t doubt;
    float signals[SIGNALS] = {0.0f}, predicted[OUTPUTS] = {0.0f}, command[COMMANDS] = {0.0f};
    long found = 0, sound = 0;
    uint32_t kinds[3] = {3u, 3u, 3u};

    sensor_doubt_reset(&doubt);
    for (long step = 0; step < steps; step++) {
        if (random_bits() % 100000u == 0u) { /* hours of the same, and other robots */
            chosen = config();
            known = model();
            sensor_doubt_reset(&doubt);
        }
        for (int part = 0; part < 3 && random_bits() % 300u == 0u; part++) {
            kinds[part] = random_bits() % 6u;
        }
        fill(signals, SIGNALS, kinds[0]);
        fill(predicted, OUTPUTS, kinds[1]);
        fill(command, COMMANDS, kinds[2]);
        const uint16_t before = doubt.found;
        sensor_doubt_step(&chosen, &known, &doubt, signals, predicted, command);
        for (int i = 0; i < SIGNALS; i++) {
            assert(doubt.up[i] >= 0.0f && doubt.up[i] <= 2.0f); /* false for NaN, too */
            assert(doubt.down[i] >= 0.0f && doubt.down[i] <= 2.0f);
            assert(doubt.at_odds[i] <= chosen.settled_samples);
            assert(is_finite(doubt.expected[i]));
            assert(doubt.agreeing[i] <= chosen.agreeing_samples);
            assert(doubt.doubted[i] || is_finite(signals[i])); /* none of these is ever believed */
            sound += !doubt.doubted[i];
        }
        found += (uint16_t)(doubt.found - before);
    }
    printf("%ld %ld\n", found, sound);
    return 0;
}
