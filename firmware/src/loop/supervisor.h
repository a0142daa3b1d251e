/* The supervisor: no command of the solver leaves the walk before it has passed here. */
#ifndef SUPERVISOR_H
#define SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

#include "controller_config.h"
#include "wire/message.h"

/* What a COMMAND went through; several may be set. */
typedef enum {
    SUPERVISOR_NOT_FINITE = 0x01, /* command or prediction was not finite: the last one was held */
    SUPERVISOR_LIMITED = 0x02,    /* the command broke a limit or the move limit and was cut */
    SUPERVISOR_HOST_STALE = 0x04, /* the sample came after the host's time-out: command held */
    SUPERVISOR_GAP = 0x08,        /* samples before this one never came */
    SUPERVISOR_LOST_POINT = 0x10  /* a point of the reference was replaced by its predecessor */
} supervisor_flag_t;

/* What leaves is not, or may not be, what was asked for. */
#define SUPERVISOR_INTERVENED (SUPERVISOR_NOT_FINITE | SUPERVISOR_LIMITED | SUPERVISOR_HOST_STALE)

typedef struct {
    bool driving;             /* since power-on or STOP a command has gone out, */
    float command[COMMANDS];  /* this one last, in physical units; else where a run begins */
    uint32_t last_sample_ms;
    uint32_t missed_samples; /* since reset */
    uint16_t host_timeout_ms; /* 0 = off */
    bool stale_reported;
} supervisor_t;

/* A run begins at `command`, in physical units: where nothing is driven yet, the first move is from
 * there, cut at the limits of `built`. A robot that is being driven is where it is. */
void supervisor_reset(supervisor_t *supervisor, const settings_t *built,
                      const float command[COMMANDS], uint32_t now_ms, uint16_t host_timeout_ms);

/* Has the host been silent for longer than its time-out? */
bool supervisor_stale(const supervisor_t *supervisor, uint32_t now_ms);

/* The same, but true only once in a silence. */
bool supervisor_became_stale(supervisor_t *supervisor, uint32_t now_ms);

/* A sample came. Returns SUPERVISOR_HOST_STALE or 0. */
unsigned supervisor_sample(supervisor_t *supervisor, uint32_t now_ms);

/* Makes `command`, in physical units, safe to leave, and remembers it. If it is not finite, or
 * `flags` say that the host was stale, the command becomes the last one. It is moved within the
 * bounds of `settings`, then within the move limit around the last one, and at the end within the
 * bounds that the firmware was built with: bounds that are narrowed around another place are
 * reached at bounded speed. Returns `flags` with those added that had to be used. */
unsigned supervisor_gate(supervisor_t *supervisor, const settings_t *settings,
                         const settings_t *built, float command[COMMANDS], unsigned flags);

#endif
