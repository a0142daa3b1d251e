/* What outlasts the power: the settings in force and the map of the day. They are those of one
 * network and of one build's settings, and no other firmware takes them. */
#ifndef KEPT_H
#define KEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "boards/board.h"
#include "loop/adaptation.h"
#include "wire/message.h"

/* Number of the newest copy, if it is this firmware's, and what is in it; 0, and nothing changes:
 * it is not, or there is none. Whether the numbers may be used is for others to say. */
uint32_t kept_read(const board_t *board, settings_t *settings, output_map_t *map);

/* Number of the copy; 0: the memory has failed, or there is none, and what was kept before still
 * is. Between runs only: the core may stand still for seconds. */
uint32_t kept_write(board_t *board, const settings_t *settings, const output_map_t *map);

/* From the next start on settings and map are as they were built. False as above. */
bool kept_forget(board_t *board);

#endif
