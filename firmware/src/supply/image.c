#include "supply/image.h"

#include <stdbool.h>
#include <string.h>

#include "supply/crc32.h"

/* Is a text of the header this one, which ends with a zero? */
static bool same(const char text[IMAGE_TEXT], const char *other)
{
    for (size_t i = 0; i < IMAGE_TEXT; i++) {
        if (text[i] != other[i]) {
            return false;
        }
        if (other[i] == '\0') {
            return true;
        }
    }
    return other[IMAGE_TEXT] == '\0';
}

static bool whole(const uint8_t *image, size_t size_max)
{
    static const uint8_t zeros[sizeof image_header.crc];
    const size_t before = (size_t)((const uint8_t *)&image_header.crc - image);
    const size_t size = image_header.size;
    uint32_t crc;

    if (size > size_max || size < before + sizeof zeros) {
        return false;
    }
    crc = crc32_add(0u, image, before);
    crc = crc32_add(crc, zeros, sizeof zeros);
    crc = crc32_add(crc, image + before + sizeof zeros, size - before - sizeof zeros);
    return crc == image_header.crc;
}

image_fault_t image_check(const uint8_t *image, size_t size_max, const char *board)
{
    /* Read as memory has it: the compiler may not know better. */
    const volatile uint32_t *magic = &image_header.magic;

    if (*magic != IMAGE_MAGIC || (image != NULL && !whole(image, size_max))) {
        return IMAGE_DAMAGED;
    }
    return same(image_header.board, board) ? IMAGE_GOOD : IMAGE_OTHER_BOARD;
}
