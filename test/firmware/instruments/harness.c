/* A pair of instruments behind functions that ctypes can call without knowing their structs. */
#include <string.h>

#include "instruments/instruments.h"

static sensor_t sensor;
static actuator_t actuators;
static actuator_status_t status;
static const sensor_config_t sensor_config = SENSOR_CONFIG;
static const actuator_config_t actuator_config = ACTUATOR_CONFIG;

void restart(void)
{
    memset(&sensor, 0, sizeof sensor);
    memset(&actuators, 0, sizeof actuators);
    memset(&status, 0, sizeof status);
}

/* The samples of `size` bytes into `counts`; returns how many. */
uint32_t read_sensor(const uint8_t *bytes, uint32_t size, int32_t (*counts)[SENSOR_SLOTS])
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < size; i++) {
        found += sensor_decode(&sensor, &sensor_config, bytes[i], counts[found]);
    }
    return found;
}

uint32_t sensor_dropped(void)
{
    return sensor.dropped;
}

uint32_t drive(const float command[COMMANDS], uint8_t out[ACTUATOR_BYTES_MAX])
{
    return (uint32_t)actuator_drive(&actuators, &actuator_config, command, out);
}

uint32_t disarm(uint8_t out[ACTUATOR_BYTES_MAX])
{
    return (uint32_t)actuator_disarm(&actuators, &actuator_config, out);
}

void read_actuators(const uint8_t *bytes, uint32_t size, actuator_status_t *known)
{
    for (uint32_t i = 0; i < size; i++) {
        actuator_decode(&actuators, &actuator_config, bytes[i], &status);
    }
    *known = status;
}
