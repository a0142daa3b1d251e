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
    return memcmp(kept->model_hash, image_header.model_hash, IMAGE_TEXT) == 0
           && memcmp(kept->settings_hash, image_header.settings_hash, IMAGE_TEXT) == 0;
}

void kept_take(control_loop_t *loop)
{
    kept_t kept;
    const uint32_t number = pages_read(loop->board, &kept, KEPT_WORDS);

    loop->kept_number = 0u;
    if (number == 0u || !ours(&kept) || !settings_valid(&kept.settings, &loop->config->settings)
        || !adaptation_set(&loop->adaptation, &kept.map)) {
        return;
    }
    loop_configure(loop, &kept.settings);
    loop->kept_number = number;
}

bool kept_store(control_loop_t *loop)
{
    kept_t kept;

    memcpy(kept.model_hash, image_header.model_hash, IMAGE_TEXT);
    memcpy(kept.settings_hash, image_header.settings_hash, IMAGE_TEXT);
    kept.settings = loop->settings;
    kept.map = loop->adaptation.taken;
    const uint32_t number = pages_write(loop->board, &kept, KEPT_WORDS);
    loop->kept_number = number != 0u ? number : loop->kept_number;
    return number != 0u;
}

bool kept_forget(control_loop_t *loop)
{
    const bool forgotten = pages_forget(loop->board);
    loop->kept_number = forgotten ? 0u : loop->kept_number;
    return forgotten;
}
