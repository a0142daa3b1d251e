#include "instruments/lightlace.h"

#include <string.h>

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static void begin_number(lightlace_t *decoder)
{
    decoder->value = 0;
    decoder->digits = 0;
    decoder->negative = false;
    decoder->place = LIGHTLACE_NUMBER;
}

static void take_digit(lightlace_t *decoder, uint8_t byte)
{
    const uint32_t digit = (uint32_t)byte - '0';
    /* The largest count is 2147483647. */
    if (decoder->digits == LIGHTLACE_DIGITS_MAX || decoder->value > 214748364u
        || (decoder->value == 214748364u && digit > 7u)) {
        decoder->place = LIGHTLACE_WRONG;
        return;
    }
    decoder->value = 10u * decoder->value + digit;
    decoder->digits++;
}

/* The count is complete, unless it was a sign alone. */
static void end_number(lightlace_t *decoder)
{
    if (decoder->digits == 0u || decoder->channel == SENSOR_CHANNELS) {
        decoder->place = LIGHTLACE_WRONG;
        return;
    }
#if SENSOR_CHANNELS > 0
    const int32_t value = (int32_t)decoder->value;
    decoder->counts[decoder->channel] = decoder->negative ? -value : value;
#endif
    decoder->channel++;
    decoder->place = LIGHTLACE_BEHIND;
}

/* A byte that is neither blank nor digit, nor the sign of a count. */
static void take_mark(lightlace_t *decoder, uint8_t byte)
{
    const uint8_t place = decoder->place;
    if (byte == '<' && place == LIGHTLACE_START) {
        decoder->bracketed = true;
        decoder->place = LIGHTLACE_FIELD;
    } else if (byte == ',' && place == LIGHTLACE_BEHIND) {
        decoder->place = LIGHTLACE_FIELD;
    } else if (byte == '>' && decoder->bracketed
               && (place == LIGHTLACE_BEHIND
                   || (place == LIGHTLACE_FIELD && decoder->channel == 0u))) {
        decoder->place = LIGHTLACE_CLOSED;
    } else {
        decoder->place = LIGHTLACE_WRONG;
    }
}

static void take(lightlace_t *decoder, const lightlace_config_t *config, uint8_t byte)
{
    if (decoder->place == LIGHTLACE_NUMBER) {
        if (is_digit(byte)) {
            take_digit(decoder, byte);
            return;
        }
        end_number(decoder);
    }
    const bool before = decoder->place == LIGHTLACE_START || decoder->place == LIGHTLACE_FIELD;
    if (is_blank(byte) || decoder->place == LIGHTLACE_WRONG) {
        return;
    }
    if (before && is_digit(byte)) {
        begin_number(decoder);
        take_digit(decoder, byte);
    } else if (before && byte == '-' && config->is_signed) {
        begin_number(decoder);
        decoder->negative = true;
    } else {
        take_mark(decoder, byte);
    }
}

static bool is_whole(lightlace_t *decoder)
{
    if (decoder->place == LIGHTLACE_NUMBER) {
        end_number(decoder);
    }
    const bool closed = decoder->bracketed ? decoder->place == LIGHTLACE_CLOSED
                                           : decoder->place == LIGHTLACE_BEHIND
                                                 || decoder->place == LIGHTLACE_START;
    return closed && decoder->channel == SENSOR_CHANNELS;
}

static void start_line(lightlace_t *decoder)
{
    decoder->size = 0;
    decoder->channel = 0;
    decoder->place = LIGHTLACE_START;
    decoder->bracketed = false;
    decoder->skipping = false;
}

bool lightlace_decode(lightlace_t *decoder, const lightlace_config_t *config, uint8_t byte,
                      int32_t counts[SENSOR_SLOTS])
{
    if (!decoder->started) {
        decoder->started = true;
        decoder->skipping = config->torn_start;
    }
    if (!decoder->skipping && ++decoder->size > LIGHTLACE_LINE_MAX) {
        decoder->dropped++;
        decoder->skipping = true;
    }
    if (byte != '\n') {
        if (!decoder->skipping) {
            take(decoder, config, byte);
        }
        return false;
    }
    const bool skipped = decoder->skipping;
    const bool whole = !skipped && is_whole(decoder);
    start_line(decoder);
    if (whole) {
        decoder->samples++;
        memcpy(counts, decoder->counts, sizeof decoder->counts);
    } else if (!skipped) {
        decoder->dropped++;
    }
    return whole;
}
