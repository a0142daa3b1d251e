#include "wire/frame.h"

uint16_t frame_crc(const uint8_t *bytes, size_t size)
{
    uint32_t crc = 0xFFFFu;
    for (size_t i = 0; i < size; i++) {
        /* The eight shifts of one byte at once: the polynomial has only the taps 12, 5 and 0. */
        uint32_t x = ((crc >> 8) ^ bytes[i]) & 0xFFu;
        x ^= x >> 4;
        crc = ((crc << 8) ^ (x << 12) ^ (x << 5) ^ x) & 0xFFFFu;
    }
    return (uint16_t)crc;
}

size_t frame_encode(const uint8_t *content, size_t size, uint8_t frame[FRAME_SIZE_MAX])
{
    const uint16_t crc = frame_crc(content, size);
    const uint8_t tail[2] = {(uint8_t)(crc & 0xFFu), (uint8_t)(crc >> 8)};
    size_t code = 0; /* where the code byte of the current block goes */
    size_t end = 1;

    for (size_t i = 0; i < size + 2; i++) {
        const uint8_t byte = i < size ? content[i] : tail[i - size];
        if (end - code > FRAME_BLOCK_MAX) {
            frame[code] = FRAME_BLOCK_MAX + 1;
            code = end++;
        }
        if (byte == 0u) {
            frame[code] = (uint8_t)(end - code);
            code = end++;
        } else {
            frame[end++] = byte;
        }
    }
    frame[code] = (uint8_t)(end - code);
    frame[end++] = 0u;
    return end;
}

static void append(frame_decoder_t *decoder, uint8_t byte)
{
    if (decoder->size < FRAME_BODY_MAX) {
        decoder->body[decoder->size++] = byte;
    } else {
        decoder->too_long = true;
    }
}

static size_t finish(frame_decoder_t *decoder)
{
    const size_t size = decoder->size;
    const bool empty = !decoder->started;
    const bool whole = decoder->block_left == 0u && !decoder->too_long && size >= 3u;

    decoder->size = 0;
    decoder->block_left = 0;
    decoder->started = false;
    decoder->too_long = false;
    if (empty) {
        return 0; /* a zero after a zero: how a host flushes the line */
    }
    if (whole) {
        const uint8_t *tail = &decoder->body[size - 2u];
        if (frame_crc(decoder->body, size - 2u) == (tail[0] | ((unsigned)tail[1] << 8))) {
            return size - 2u;
        }
    }
    decoder->bad_frames++;
    return 0;
}

size_t frame_decode(frame_decoder_t *decoder, uint8_t byte)
{
    if (byte == 0u) {
        return finish(decoder);
    }
    if (decoder->block_left > 0u) {
        append(decoder, byte);
        decoder->block_left--;
    } else {
        if (decoder->started && !decoder->full_block) {
            append(decoder, 0u); /* the zero that ended the block before */
        }
        decoder->started = true;
        decoder->full_block = byte == FRAME_BLOCK_MAX + 1;
        decoder->block_left = (uint8_t)(byte - 1u);
    }
    return 0;
}
