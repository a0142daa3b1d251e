/* What an image says of itself, so that nobody runs one that is damaged or another board's: neither
 * a host nor the image. On a board the header stands behind the vectors, in the host's library in
 * a section of its own:
 *
 *     0x08000000  vectors   header   code   constants   initial values     size bytes in all
 *
 * image_header.py writes size and crc when the image has been linked. */
#ifndef IMAGE_H
#define IMAGE_H

#include <stddef.h>
#include <stdint.h>

/* The Makefile says which board it is; without it all is compiled for the host. */
#ifndef IMAGE_BOARD
#define IMAGE_BOARD "host"
#endif

#define IMAGE_MAGIC 0x4D495343u /* "CSIM" */
#define IMAGE_TEXT 16           /* characters, padded with zeros; none at the end of 16 */

typedef struct {
    uint32_t magic;
    uint32_t version; /* of this layout: 1 */
    char board[IMAGE_TEXT];
    char model_hash[IMAGE_TEXT];    /* first hex digits of the SHA-256 of the network file, */
    char settings_hash[IMAGE_TEXT]; /* of the settings that were built in, */
    char build_id[IMAGE_TEXT];      /* and of both with all sources */
    uint32_t size;
    uint32_t crc; /* CRC-32 of the image, with zeros in place of these four bytes */
} image_header_t;

/* controller_config.c has it. */
extern const image_header_t image_header;

typedef enum {
    IMAGE_GOOD,
    IMAGE_OTHER_BOARD, /* it was built for another one than it runs on */
    IMAGE_DAMAGED      /* or never whole */
} image_fault_t;

/* Is this program the image that was built, and for this board? image: its first byte; NULL: where
 * it is not known, as on the host, only the header is looked at. size_max: of what can be read. */
image_fault_t image_check(const uint8_t *image, size_t size_max, const char *board);

#endif
