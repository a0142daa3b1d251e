#include "supply/pages.h"

#include <string.h>

#include "supply/crc32.h"

#define PAGES_MAGIC 0x504B4353u /* "SCKP" */

typedef struct {
    uint32_t magic;
    uint32_t number; /* of this copy; wraps past 0 */
    uint32_t words;  /* of the content */
} page_header_t;

#define HEADER_WORDS (sizeof(page_header_t) / sizeof(uint32_t))

static size_t size_of(size_t words)
{
    return sizeof(page_header_t) + (words + 1u) * sizeof(uint32_t);
}

/* Number of a good copy of this size; 0: there is none. */
static uint32_t number_in(const board_t *board, int page, size_t words)
{
    const uint8_t *from = board_page(board, page);
    const size_t sum_at = size_of(words) - sizeof(uint32_t);
    page_header_t header;
    uint32_t sum;

    memcpy(&header, from, sizeof header);
    memcpy(&sum, from + sum_at, sizeof sum);
    return header.magic == PAGES_MAGIC && header.words == words
                   && crc32_add(0u, from, sum_at) == sum
               ? header.number
               : 0u;
}

/* The page with the newest good copy; -1: there is none. */
static int newest(const board_t *board, size_t words, uint32_t *number)
{
    int found = -1;

    *number = 0u;
    if (board_page_size(board) < size_of(words)) {
        return -1;
    }
    for (int page = 0; page < BOARD_PAGES; page++) {
        const uint32_t there = number_in(board, page, words);
        if (there != 0u && (found < 0 || (int32_t)(there - *number) > 0)) {
            found = page;
            *number = there;
        }
    }
    return found;
}

uint32_t pages_read(const board_t *board, void *content, size_t words)
{
    uint32_t number;
    const int page = newest(board, words, &number);

    if (page >= 0) {
        memcpy(content, board_page(board, page) + sizeof(page_header_t), words * sizeof(uint32_t));
    }
    return number;
}

bool pages_same(const void *one, const void *other, size_t size)
{
    const uint8_t *a = one, *b = other;
    bool same = true;

    for (size_t i = 0; i < size; i++) {
        same = same && a[i] == b[i];
    }
    return same;
}

uint32_t pages_write(board_t *board, const void *content, size_t words)
{
    uint32_t number;
    const int old = newest(board, words, &number);
    const int page = old == 0 ? 1 : 0;
    const size_t size = words * sizeof(uint32_t);

    if (board_page_size(board) < size_of(words)) {
        return 0u;
    }
    if (old >= 0 && pages_same(board_page(board, old) + sizeof(page_header_t), content, size)) {
        return number;
    }
    number = number + 1u == 0u ? 1u : number + 1u;
    const page_header_t header = {.magic = PAGES_MAGIC, .number = number, .words = (uint32_t)words};
    const uint32_t sum = crc32_add(crc32_add(0u, &header, sizeof header), content, size);
    const bool written =
        board_page_erase(board, page)
        && board_page_write(board, page, 0u, (const uint32_t *)&header, HEADER_WORDS)
        && board_page_write(board, page, sizeof header, content, words)
        && board_page_write(board, page, sizeof header + size, &sum, 1u);
    return written && number_in(board, page, words) == number ? number : 0u;
}

/* A page that has no header any more is not erased again. */
static bool forgotten(board_t *board, int page)
{
    page_header_t header;

    memcpy(&header, board_page(board, page), sizeof header);
    return (header.magic & header.number & header.words) == UINT32_MAX
           || board_page_erase(board, page);
}

bool pages_forget(board_t *board)
{
    /* Which is the newest does not depend on a size here: either may be of an older firmware. */
    uint32_t numbers[BOARD_PAGES];

    if (board_page_size(board) == 0u) {
        return false;
    }
    for (int page = 0; page < BOARD_PAGES; page++) {
        page_header_t header;
        memcpy(&header, board_page(board, page), sizeof header);
        numbers[page] = header.magic == PAGES_MAGIC ? header.number : 0u;
    }
    const int first = (int32_t)(numbers[1] - numbers[0]) > 0 ? 0 : 1;
    return forgotten(board, first) && forgotten(board, 1 - first);
}
