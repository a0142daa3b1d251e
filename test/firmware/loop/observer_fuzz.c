/* Hostile signals for observer.c: error and covariance stay finite and bounded, whatever comes. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "hostile.h"
#include "loop/observer.h"
#include "solver/number.h"

static void choose(observer_config_t *config, signal_model_t *model, float spread[OUTPUTS])
{
    fill(&model->hidden[0][0], SIGNAL_UNITS * (MODEL_INPUTS + 1), 3u);
    fill(&model->weights[0][0], SIGNALS * MODEL_FEATURES, 3u);
    config->keep = uniform(0.5f, 0.9999f);
    memset(config->renewed, 0, sizeof config->renewed);
    for (int i = 0; i < OUTPUTS; i++) {
        spread[i] = uniform(1e-6f, 1.0f);
        config->renewed[i][i] = (1.0f - config->keep * config->keep) * spread[i];
    }
    for (int i = 0; i < SIGNALS; i++) {
        config->noise[i] = uniform(1e-6f, 1.0f); /* NOISE_MIN squared, and more */
    }
}

int main(int count, char **arguments)
{
    const long steps = count > 1 ? atol(arguments[1]) : 0;
    observer_config_t config;
    signal_model_t model;
    observer_t observer;
    float spread[OUTPUTS];
    float signals[SIGNALS] = {0.0f}, predicted[OUTPUTS] = {0.0f}, command[COMMANDS] = {0.0f};
    uint32_t kinds[3] = {3u, 3u, 3u};
    long moved = 0;

    choose(&config, &model, spread);
    observer_reset(&observer);
    for (long step = 0; step < steps; step++) {
        bool doubted[SIGNAL_SLOTS];
        if (random_bits() % 20000u == 0u) { /* hours of the same, and other robots */
            choose(&config, &model, spread);
            observer_reset(&observer);
        }
        for (int part = 0; part < 3 && random_bits() % 300u == 0u; part++) {
            kinds[part] = random_bits() % 6u;
        }
        fill(signals, SIGNALS, kinds[0]);
        /* The network's outputs and the commands are never other than finite. */
        fill(predicted, OUTPUTS, kinds[1] == 0u ? 3u : kinds[1]);
        fill(command, COMMANDS, kinds[2] == 0u ? 3u : kinds[2]);
        for (int i = 0; i < SIGNALS; i++) {
            doubted[i] = random_bits() % 5u == 0u;
        }
        const float before = observer.error[0];
        observer_step(&config, &model, &observer, doubted, signals, predicted, command);
        moved += observer.error[0] < before || observer.error[0] > before;
        for (int i = 0; i < OUTPUTS; i++) {
            assert(fabsf(observer.error[i]) < 1e6f); /* false for NaN, too */
            assert(observer.covariance[i][i] >= 0.0f);
            assert(observer.covariance[i][i] <= 1.001f * spread[i]);
            for (int j = 0; j < OUTPUTS; j++) {
                const float product = observer.covariance[i][i] * observer.covariance[j][j];
                const float both = observer.covariance[i][j];
                assert(both * both <= 1.001f * product + 1e-6f);
            }
        }
    }
    printf("%ld\n", moved);
    return 0;
}
