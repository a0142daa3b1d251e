#include "instruments/analogue.h"

#include <string.h>

#include "wire/frame.h"

static size_t frame(analogue_t *actuators, uint8_t flags, uint8_t out[ACTUATOR_BYTES_MAX])
{
    uint8_t content[3 + 4 * COMMANDS] = {ANALOGUE_TYPE, flags, actuators->counter++};
    uint8_t whole[FRAME_SIZE_MAX];

    memcpy(&content[3], actuators->command, sizeof actuators->command);
    const size_t size = frame_encode(content, sizeof content, whole);
    memcpy(out, whole, size);
    return size;
}

size_t analogue_drive(analogue_t *actuators, const analogue_config_t *config,
                      const float command[COMMANDS], uint8_t out[ACTUATOR_BYTES_MAX])
{
    (void)config;
    memcpy(actuators->command, command, sizeof actuators->command);
    return frame(actuators, ANALOGUE_ENABLED, out);
}

size_t analogue_disarm(analogue_t *actuators, const analogue_config_t *config,
                       uint8_t out[ACTUATOR_BYTES_MAX])
{
    (void)config;
    return frame(actuators, 0u, out);
}

bool analogue_decode(analogue_t *actuators, const analogue_config_t *config, uint8_t byte,
                     actuator_status_t *status)
{
    (void)actuators;
    (void)config;
    (void)byte;
    (void)status;
    return false;
}
