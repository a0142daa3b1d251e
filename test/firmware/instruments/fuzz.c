/* A pair of instruments as a program, for fuzz.py: under sanitizers, bytes in and findings out.
 *
 *   fuzz sensor      in   the sensor's bytes
 *                    out  i32[SENSOR_CHANNELS] a sample; at the end u32 samples, dropped
 *   fuzz actuators   in   'd' f32[COMMANDS] | 'l' | 'a' u32 size, bytes of an answer
 *                    out  u32 size, bytes | the same | actuator_status_t */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "instruments/instruments.h"

static const sensor_config_t sensor_config = SENSOR_CONFIG;
static const actuator_config_t actuator_config = ACTUATOR_CONFIG;

static void say(const void *values, size_t size)
{
    if (fwrite(values, 1, size, stdout) != size) {
        exit(2);
    }
}

static void hear(void *values, size_t size)
{
    if (fread(values, 1, size, stdin) != size) {
        exit(2);
    }
}

/* What the drivers write to is of its exact size and on the heap, where a byte too far is seen. */
static void *room(size_t size)
{
    void *bytes = calloc(1, size);
    if (bytes == NULL) {
        exit(2);
    }
    return bytes;
}

static void fuzz_sensor(void)
{
    sensor_t *sensor = room(sizeof *sensor);
    int32_t *counts = room(SENSOR_SLOTS * sizeof *counts);
    for (int byte = getchar(); byte != EOF; byte = getchar()) {
        if (sensor_decode(sensor, &sensor_config, (uint8_t)byte, counts)) {
            say(counts, SENSOR_CHANNELS * sizeof *counts);
        }
    }
    const uint32_t totals[] = {sensor->samples, sensor->dropped};
    say(totals, sizeof totals);
    free(counts);
    free(sensor);
}

static void fuzz_actuators(void)
{
    actuator_t *actuators = room(sizeof *actuators);
    actuator_status_t *status = room(sizeof *status);
    float *command = room(COMMANDS * sizeof *command);
    for (int kind = getchar(); kind != EOF; kind = getchar()) {
        if (kind == 'a') {
            uint32_t size;
            hear(&size, sizeof size);
            for (; size > 0u; size--) {
                actuator_decode(actuators, &actuator_config, (uint8_t)getchar(), status);
            }
            say(status, sizeof *status);
            continue;
        }
        uint8_t *out = room(ACTUATOR_BYTES_MAX);
        uint32_t size;
        if (kind == 'd') {
            hear(command, COMMANDS * sizeof *command);
            size = (uint32_t)actuator_drive(actuators, &actuator_config, command, out);
        } else {
            size = (uint32_t)actuator_disarm(actuators, &actuator_config, out);
        }
        say(&size, sizeof size);
        say(out, size);
        free(out);
    }
    free(command);
    free(status);
    free(actuators);
}

int main(int count, char **words)
{
    if (count == 2 && strcmp(words[1], "sensor") == 0) {
        fuzz_sensor();
    } else if (count == 2 && strcmp(words[1], "actuators") == 0) {
        fuzz_actuators();
    } else {
        return 2;
    }
    return 0;
}
