#include "loop/kept.h"

#include <string.h>

#include "supply/image.h"
#include "supply/pages.h"

/* Words only, no gaps: what is in memory has one form for one content. */
typedef struct {
    char model_hash[IMAGE_TEXT];
    char settings_hash[IMAGE_TEXT];
    settings_t settings;
    output_map_t map; /* normalised, as adaptation.h has it */
} kept_t;

#define KEPT_WORDS (sizeof(kept_t) / sizeof(uint32_t))

static bool ours(const kept_t *kept)
{
    return pages_same(kept->model_hash, image_header.model_hash, IMAGE_TEXT)
           && pages_same(kept->settings_hash, image_header.settings_hash, IMAGE_TEXT);
}

uint32_t kept_read(const board_t *board, settings_t *settings, output_map_t *map)
{
    kept_t kept;
    const uint32_t number = pages_read(board, &kept, KEPT_WORDS);

    if (number == 0u || !ours(&kept)) {
        return 0u;
    }
    *settings = kept.settings;
    *map = kept.map;
    return number;
}

uint32_t kept_write(board_t *board, const settings_t *settings, const output_map_t *map)
{
    kept_t kept = {.settings = *settings, .map = *map};

    memcpy(kept.model_hash, image_header.model_hash, IMAGE_TEXT);
    memcpy(kept.settings_hash, image_header.settings_hash, IMAGE_TEXT);
    return pages_write(board, &kept, KEPT_WORDS);
}

bool kept_forget(board_t *board)
{
    return pages_forget(board);
}
