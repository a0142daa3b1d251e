/* Frames on the wire: COBS(content | crc16) 0x00. docs/protocol.md is the specification. */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controller_config.h" /* FRAME_CONTENT_MAX */

/* Content is the type byte and the payload. COBS cuts the body into blocks that end at a zero or
 * after 254 other bytes, and puts one code byte before each: the distance to the zero, or 255,
 * behind which there is none. The delimiter comes last.
 *
 *     body    11 22 00 33         00 x 1 .. 254 bytes that are not zero .. 44
 *     frame   03 11 22 02 33 00   01 ff x .. 02 44 00 */
#define FRAME_BLOCK_MAX 254
#define FRAME_BODY_MAX (FRAME_CONTENT_MAX + 2)
#define FRAME_SIZE_MAX \
    (FRAME_BODY_MAX + (FRAME_BODY_MAX + FRAME_BLOCK_MAX - 1) / FRAME_BLOCK_MAX + 1)

typedef struct {
    uint8_t body[FRAME_BODY_MAX]; /* the content of the last good frame until the next byte comes */
    uint16_t size;
    uint8_t block_left; /* bytes still to come in the current COBS block */
    bool started;
    bool full_block; /* the current block has no zero behind it */
    bool too_long;
    uint32_t bad_frames; /* since power-on: too long, too short, cut off, or a wrong checksum */
} frame_decoder_t;

/* CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF, not reflected. */
uint16_t frame_crc(const uint8_t *bytes, size_t size);

/* size <= FRAME_CONTENT_MAX. Returns the size of the frame, delimiter included. */
size_t frame_encode(const uint8_t *content, size_t size, uint8_t frame[FRAME_SIZE_MAX]);

/* All zero is a fresh decoder. Returns the size of the content when byte completes a good frame,
   else 0. A bad frame is counted and forgotten; the next zero byte starts afresh. */
size_t frame_decode(frame_decoder_t *decoder, uint8_t byte);

#endif
