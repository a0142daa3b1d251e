/* One decoder of the firmware, fresh for each input, for decoders.py.
 *
 * With -DFUZZED libFuzzer chooses the inputs. Else a program that reads them, u32 size and bytes
 * each, and writes for each u32 size and what the decoder has found:
 *
 *   frame      u16 size, content and u8 message_error_t of each frame; at the end u32 bad_frames
 *   sensor     i32[SENSOR_CHANNELS] of each sample; at the end u32 samples, dropped
 *   actuators  u32 answers that were complete, actuator_status_t */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"

#define INPUT_MAX 4096
#define FOUND_MAX (8 * INPUT_MAX)

static uint8_t found[FOUND_MAX];
static size_t found_size;

static void say(const void *values, size_t size)
{
    assert(found_size + size <= sizeof found);
    memcpy(&found[found_size], values, size);
    found_size += size;
}

#if defined(DECODES_FRAMES)
#include "wire/message.h"

static void decode(const uint8_t *data, size_t size)
{
    static frame_decoder_t decoder;
    static request_t request;

    memset(&decoder, 0, sizeof decoder);
    for (size_t i = 0; i < size; i++) {
        const size_t whole = frame_decode(&decoder, data[i]);
        if (whole > 0u) {
            const uint16_t content = (uint16_t)whole;
            const uint8_t error = (uint8_t)message_decode(decoder.body, whole, &request);
            assert(whole <= FRAME_CONTENT_MAX);
            assert(error != MESSAGE_OK || request.line < FROM_HOST_LINES);
            assert(error != MESSAGE_OK || request.points.count <= MESSAGE_POINTS_MAX);
            say(&content, sizeof content);
            say(decoder.body, whole);
            say(&error, sizeof error);
        }
    }
    say(&decoder.bad_frames, sizeof decoder.bad_frames);
}

#elif defined(DECODES_SENSOR)
#include "instruments/instruments.h"

static const sensor_config_t config = SENSOR_CONFIG;

static void decode(const uint8_t *data, size_t size)
{
    static sensor_t sensor;
    static int32_t counts[SENSOR_SLOTS];

    memset(&sensor, 0, sizeof sensor);
    for (size_t i = 0; i < size; i++) {
        if (sensor_decode(&sensor, &config, data[i], counts)) {
            say(counts, sizeof counts);
        }
    }
    const uint32_t totals[] = {sensor.samples, sensor.dropped};
    say(totals, sizeof totals);
}

#else
#include "instruments/instruments.h"

static const actuator_config_t config = ACTUATOR_CONFIG;

static void decode(const uint8_t *data, size_t size)
{
    static actuator_t actuators;
    static actuator_status_t status;
    static uint8_t told[ACTUATOR_BYTES_MAX];
    static const float rest[COMMANDS];
    uint32_t answers = 0;

    memset(&actuators, 0, sizeof actuators);
    memset(&status, 0, sizeof status);
    assert(actuator_drive(&actuators, &config, rest, told) <= sizeof told);
    for (size_t i = 0; i < size; i++) {
        answers += actuator_decode(&actuators, &config, data[i], &status);
    }
    say(&answers, sizeof answers);
    say(&status, sizeof status);
}
#endif

#ifdef FUZZED
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    found_size = 0;
    decode(data, size);
    return 0;
}

#ifdef IN_FRAMES
/* Few mutations keep a checksum: half of them get one that is right, or nothing behind it would
 * ever be reached. */
static size_t repaired(const uint8_t *data, size_t size, uint8_t *out, size_t room)
{
    frame_decoder_t decoder = {.size = 0};
    size_t end = 0;

    for (size_t i = 0; i < size; i++) {
        if (data[i] != 0u) {
            (void)frame_decode(&decoder, data[i]);
            continue;
        }
        if (decoder.size > 2u && room - end >= FRAME_SIZE_MAX) {
            uint8_t frame[FRAME_SIZE_MAX];
            const size_t frame_size = frame_encode(decoder.body, decoder.size - 2u, frame);
            memcpy(&out[end], frame, frame_size);
            end += frame_size;
        }
        decoder = (frame_decoder_t){.size = 0};
    }
    return end;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    static uint8_t whole[INPUT_MAX];
    const size_t mutated = LLVMFuzzerMutate(data, size, size_max);

    if (seed % 2u == 0u) {
        return mutated;
    }
    const size_t size_whole = repaired(data, mutated, whole, sizeof whole);
    if (size_whole == 0u || size_whole > size_max) {
        return mutated;
    }
    memcpy(data, whole, size_whole);
    return size_whole;
}
#endif

#else
int main(void)
{
    static uint8_t data[INPUT_MAX];
    uint32_t size;

    while (fread(&size, sizeof size, 1, stdin) == 1u) {
        if (size > sizeof data || fread(data, 1, size, stdin) != size) {
            return 2;
        }
        /* A copy of its exact size, beyond which a sanitizer sees every byte. */
        uint8_t *input = malloc(size + (size == 0u));
        if (input == NULL) {
            return 2;
        }
        memcpy(input, data, size);
        found_size = 0;
        decode(input, size);
        free(input);
        const uint32_t written = (uint32_t)found_size;
        if (fwrite(&written, sizeof written, 1, stdout) != 1u
            || fwrite(found, 1, found_size, stdout) != found_size) {
            return 2;
        }
    }
    return 0;
}
#endif
