#include "instruments/magnetic.h"

#include <string.h>

/* The mean of a sum of `count` values, halves away from zero. */
static int32_t mean(int32_t sum, int32_t count)
{
    return (sum >= 0 ? 2 * sum + count : 2 * sum - count) / (2 * count);
}

static int32_t median_of(const magnetic_t *decoder, int channel, int count)
{
    int16_t sorted[MAGNETIC_MEDIAN_MAX] = {0};
    for (int i = 0; i < count; i++) {
        const int16_t value = decoder->last[i][channel];
        int at = i;
        for (; at > 0 && sorted[at - 1] > value; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = value;
    }
    return sorted[count / 2];
}

/* The frame's counts into the place of the oldest; a first frame stands for all before it. */
static void remember(magnetic_t *decoder, const uint8_t *from, int count)
{
    for (int i = 0; i < SENSOR_CHANNELS; i++) {
        const int16_t value = (int16_t)(from[2 * i] | from[2 * i + 1] << 8);
        for (int j = 0; j < count; j++) {
            if (!decoder->any || j == decoder->next) {
                decoder->last[j][i] = value;
            }
        }
    }
    decoder->next = (uint8_t)((decoder->next + 1) % count);
}

bool magnetic_decode(magnetic_t *decoder, const magnetic_config_t *config, uint8_t byte,
                     int32_t counts[SENSOR_SLOTS])
{
    const uint32_t bad = decoder->decoder.bad_frames;
    const size_t size = frame_decode(&decoder->decoder, byte);
    const uint8_t *content = decoder->decoder.body;

    decoder->dropped += decoder->decoder.bad_frames - bad;
    if (size == 0u) {
        return false;
    }
    if (size != 2u + 2u * SENSOR_CHANNELS || content[0] != MAGNETIC_TYPE) {
        decoder->dropped++;
        return false;
    }
    decoder->lost += decoder->any ? (uint8_t)(content[1] - decoder->counter - 1u) : 0u;
    decoder->counter = content[1];
    const uint8_t newest = decoder->next;
    remember(decoder, &content[2], config->median);
    decoder->any = true;
    if (decoder->taken < config->start_samples) {
        decoder->taken++;
        const bool last = decoder->taken == config->start_samples;
        for (int i = 0; i < SENSOR_CHANNELS; i++) {
            decoder->sum[i] += decoder->last[newest][i];
            decoder->sum[i] = last ? mean(decoder->sum[i], decoder->taken) : decoder->sum[i];
        }
        return false;
    }
    decoder->samples++;
    for (int i = 0; i < SENSOR_CHANNELS; i++) {
        counts[i] = median_of(decoder, i, config->median) - decoder->sum[i];
    }
    return true;
}
