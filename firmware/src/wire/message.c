#include "wire/message.h"

#include <string.h>

/* Little-endian whatever the processor; each returns the place after what it read or wrote. */

static const uint8_t *get_u16(const uint8_t *from, uint16_t *value)
{
    *value = (uint16_t)(from[0] | ((unsigned)from[1] << 8));
    return from + 2;
}

static const uint8_t *get_u32(const uint8_t *from, uint32_t *value)
{
    *value = from[0] | ((uint32_t)from[1] << 8) | ((uint32_t)from[2] << 16)
             | ((uint32_t)from[3] << 24);
    return from + 4;
}

static const uint8_t *get_floats(const uint8_t *from, float *values, int count)
{
    for (int i = 0; i < count; i++) {
        uint32_t bits;
        from = get_u32(from, &bits);
        memcpy(&values[i], &bits, sizeof bits);
    }
    return from;
}

static const uint8_t *get_signals(const uint8_t *from, int16_t *values)
{
    for (int i = 0; i < SIGNALS; i++) {
        uint16_t bits;
        from = get_u16(from, &bits);
        memcpy(&values[i], &bits, sizeof bits);
    }
    return from;
}

static uint8_t *put_u8(uint8_t *to, unsigned value)
{
    to[0] = (uint8_t)value;
    return to + 1;
}

static uint8_t *put_u32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        to[i] = (uint8_t)(value >> (8 * i));
    }
    return to + 4;
}

static uint8_t *put_floats(uint8_t *to, const float *values, int count)
{
    for (int i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        to = put_u32(to, bits);
    }
    return to;
}

/* Padded with zeros, cut at size. */
static uint8_t *put_text(uint8_t *to, const char *text, int size)
{
    for (int i = 0; i < size; i++) {
        to[i] = (uint8_t)*text;
        if (*text != '\0') {
            text++;
        }
    }
    return to + size;
}

message_error_t message_decode(const uint8_t *content, size_t size, request_t *request)
{
    const uint8_t *payload = content + 1;
    const size_t head = 6; /* type, k and count of REFERENCE */

    request->type = content[0];
    request->count = 0;
    switch (content[0]) {
    case MESSAGE_HELLO:
        return size == 1u ? MESSAGE_OK : MESSAGE_BAD_LENGTH;
    case MESSAGE_RESET:
        if (size != MESSAGE_RESET_SIZE) {
            return MESSAGE_BAD_LENGTH;
        }
        payload = get_u32(payload, &request->k);
        payload = get_u16(payload, &request->host_timeout_ms);
        payload = get_floats(payload, request->command, COMMANDS);
        (void)get_floats(payload, request->position, OUTPUTS);
        return MESSAGE_OK;
    case MESSAGE_REFERENCE:
        if (size < head || size != head + 4u * OUTPUTS * content[5]) {
            return MESSAGE_BAD_LENGTH;
        }
        payload = get_u32(payload, &request->k);
        request->count = *payload++;
        (void)get_floats(payload, request->points[0], OUTPUTS * request->count);
        return MESSAGE_OK;
    case MESSAGE_SAMPLE:
        if (size != MESSAGE_SAMPLE_SIZE) {
            return MESSAGE_BAD_LENGTH;
        }
        payload = get_u32(payload, &request->k);
        payload = get_signals(payload, request->signals);
        request->count = 1;
        (void)get_floats(payload, request->points[0], OUTPUTS);
        return MESSAGE_OK;
    case MESSAGE_OBSERVE:
        if (size != MESSAGE_OBSERVE_SIZE) {
            return MESSAGE_BAD_LENGTH;
        }
        payload = get_u32(payload, &request->k);
        payload = get_signals(payload, request->signals);
        (void)get_floats(payload, request->command, COMMANDS);
        return MESSAGE_OK;
    case MESSAGE_POSITION:
        if (size != MESSAGE_POSITION_SIZE) {
            return MESSAGE_BAD_LENGTH;
        }
        payload = get_u32(payload, &request->k);
        (void)get_floats(payload, request->position, OUTPUTS);
        return MESSAGE_OK;
    case MESSAGE_CONFIGURE:
        if (size != MESSAGE_CONFIGURE_SIZE) {
            return MESSAGE_BAD_LENGTH;
        }
        (void)get_floats(payload, request->settings.command_min,
                         (int)(sizeof request->settings / sizeof(float)));
        return MESSAGE_OK;
    default:
        return MESSAGE_UNKNOWN_TYPE;
    }
}

size_t message_encode_boot(uint8_t content[FRAME_CONTENT_MAX], uint8_t reset_cause, const char *board)
{
    uint8_t *end = put_u8(content, MESSAGE_BOOT);
    end = put_u8(end, PROTOCOL_VERSION);
    end = put_u8(end, reset_cause);
    end = put_text(end, board, MESSAGE_BOARD_SIZE);
    return (size_t)(end - content);
}

size_t message_encode_info(uint8_t content[FRAME_CONTENT_MAX], const info_t *info)
{
    const float rate_hz = CONTROL_RATE_HZ;
    uint8_t *end = put_u8(content, MESSAGE_INFO);
    end = put_u8(end, PROTOCOL_VERSION);
    end = put_text(end, info->model_hash, MESSAGE_HASH_SIZE);
    end = put_text(end, info->build_id, MESSAGE_HASH_SIZE);
    end = put_text(end, info->board, MESSAGE_BOARD_SIZE);
    end = put_u8(end, COMMANDS);
    end = put_u8(end, OUTPUTS);
    end = put_u8(end, SIGNALS);
    end = put_u8(end, INPUT_LAGS);
    end = put_u8(end, OUTPUT_LAGS);
    end = put_u8(end, INPUT_DELAY);
    end = put_u8(end, HORIZON);
    end = put_u8(end, CONTROL_HORIZON);
    end = put_u8(end, info->step_cost_unit);
    end = put_floats(end, &rate_hz, 1);
    end = put_u32(end, info->missed_samples);
    end = put_u32(end, info->lost_points);
    end = put_u32(end, info->bad_frames);
    return (size_t)(end - content);
}

size_t message_encode_command(uint8_t content[FRAME_CONTENT_MAX], const command_t *command)
{
    uint8_t *end = put_u8(content, MESSAGE_COMMAND);
    end = put_u32(end, command->k);
    end = put_u8(end, command->status);
    end = put_u8(end, command->supervisor);
    end = put_u8(end, command->iterations);
    end = put_floats(end, command->command, COMMANDS);
    end = put_floats(end, command->predicted, OUTPUTS);
    end = put_floats(end, &command->cost, 1);
    end = put_u32(end, command->step_cost);
    return (size_t)(end - content);
}

size_t message_encode_error(uint8_t content[FRAME_CONTENT_MAX], message_error_t error, uint8_t type)
{
    uint8_t *end = put_u8(content, MESSAGE_ERROR);
    end = put_u8(end, error);
    end = put_u8(end, type);
    return (size_t)(end - content);
}
