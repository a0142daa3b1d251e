/* How long the firmware may take for a cycle that it feeds the watchdogs for. */
#ifndef WATCHDOG_H
#define WATCHDOG_H

#include "boards/board.h"
#include "controller_config.h"

/* Two control periods, and at least a quarter of a second. The one in software can say where the
 * program hangs, so the one in hardware gives it twice as long: its oscillator may be 47 % fast. */
#define WATCHDOG_S (2.0f / CONTROL_RATE_HZ > 0.25f ? 2.0f / CONTROL_RATE_HZ : 0.25f)
#define WATCHDOG_HARD_S (2.0f * WATCHDOG_S)
#define WATCHDOG_SUBTICKS ((uint32_t)(WATCHDOG_S * SUBTICKS_HZ) + 1u)

#endif
