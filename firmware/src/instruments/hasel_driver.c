#include "instruments/hasel_driver.h"

#include <string.h>

#include "solver/number.h"

static size_t frame(hasel_driver_t *driver, uint8_t flags, const uint16_t duty[COMMANDS],
                    uint8_t out[ACTUATOR_BYTES_MAX])
{
    uint8_t content[3 + 2 * COMMANDS] = {HASEL_DRIVER_DUTY, flags, driver->counter++};
    uint8_t whole[FRAME_SIZE_MAX];

    for (int i = 0; i < COMMANDS; i++) {
        content[3 + 2 * i] = (uint8_t)(duty[i] & 0xFFu);
        content[4 + 2 * i] = (uint8_t)(duty[i] >> 8);
    }
    const size_t size = frame_encode(content, sizeof content, whole);
    memcpy(out, whole, size);
    return size;
}

size_t hasel_driver_drive(hasel_driver_t *driver, const hasel_driver_config_t *config,
                          const float command[COMMANDS], uint8_t out[ACTUATOR_BYTES_MAX])
{
    uint16_t duty[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) {
        /* To the nearest step, halves upwards; NaN becomes no voltage. */
        const float exact = config->zero_steps + command[i] * config->steps_per_unit;
        const float up = exact + 0.5f; /* to cut the fraction off rounds down */
        duty[i] = (uint16_t)(up >= 0.0f ? smaller(up, config->full_steps) : 0.0f);
    }
    return frame(driver, HASEL_DRIVER_ARM, duty, out);
}

size_t hasel_driver_disarm(hasel_driver_t *driver, const hasel_driver_config_t *config,
                           uint8_t out[ACTUATOR_BYTES_MAX])
{
    static const uint16_t none[COMMANDS];
    (void)config;
    return frame(driver, 0u, none, out);
}

bool hasel_driver_decode(hasel_driver_t *driver, const hasel_driver_config_t *config, uint8_t byte,
                         actuator_status_t *status)
{
    const uint32_t bad = driver->decoder.bad_frames;
    const size_t size = frame_decode(&driver->decoder, byte);
    const uint8_t *content = driver->decoder.body;

    (void)config;
    status->bad += driver->decoder.bad_frames - bad;
    if (size == 0u) {
        return false;
    }
    if (size != 7u || content[0] != HASEL_DRIVER_STATUS) {
        status->bad++;
        return false;
    }
    const int32_t tenths = (int16_t)(content[5] | content[6] << 8);
    status->errors = content[2];
    status->voltage = (float)(content[3] | content[4] << 8);
    status->temperature = (float)tenths * 0.1f;
    status->answers++;
    return true;
}
