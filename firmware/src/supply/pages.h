/* What outlasts the power: two copies in two pages, written in turn.
 *
 *     page   magic  number  size  content ...  crc        of the copy with the higher number
 *
 * The page that is written is never the one that holds the newest good copy, and the checksum is
 * written last: wherever the power is cut, the copy from before or the new one is whole. */
#ifndef PAGES_H
#define PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boards/board.h"

/* Takes the newest good copy of this size, whose number is returned, from 1 on. 0: there is none,
 * and `content` is as it was. `words` is the size of the content in words of four bytes. */
uint32_t pages_read(const board_t *board, void *content, size_t words);

/* The content as the newest copy; one that is there already is not written again, which spares
 * the memory. Returns its number; 0: the memory has failed, or there is none, and what was the
 * newest still is. While nothing is driven: see board_page_erase. */
uint32_t pages_write(board_t *board, const void *content, size_t words);

/* Erases both, the newest last. False: the memory has failed, or there is none. */
bool pages_forget(board_t *board);

/* Equal bytes? memcmp of the C library has loops of which no tool sees that they end. */
bool pages_same(const void *one, const void *other, size_t size);

#endif
