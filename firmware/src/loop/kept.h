/* What outlasts the power: the settings in force and the map of the day. They are those of one
 * network and of one build's settings, and no other firmware takes them. */
#ifndef KEPT_H
#define KEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "loop/control_loop.h"

/* Goes on with what was kept, if it is this firmware's and valid. */
void kept_take(control_loop_t *loop);

/* Keeps what is in force. False: the memory has failed, or there is none, and what was kept before
 * still is. Between runs only: the core may stand still for seconds. */
bool kept_store(control_loop_t *loop);

/* From the next start on settings and map are as they were built. False as above. */
bool kept_forget(control_loop_t *loop);

#endif
