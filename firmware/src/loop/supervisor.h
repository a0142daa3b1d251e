/* The supervisor: no command of the solver leaves the walk before it has passed here. */
#ifndef SUPERVISOR_H
#define SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

#include "controller_config.h"
#include "solver/problem.h"

/* What a COMMAND went through; several may be set. */
typedef enum {
    SUPERVISOR_NOT_FINITE = 0x01, /* command or prediction was not finite: the last one was held */
    SUPERVISOR_LIMITED = 0x02,    /* the command broke a limit or the move limit and was cut */
    SUPERVISOR_HOST_STALE = 0x04, /* the sample came after the host's time-out: command held */
    SUPERVISOR_GAP = 0x08,        /* samples before this one never came */
    SUPERVISOR_LOST_POINT = 0x10  /* a point of the reference was replaced by its predecessor */
} supervisor_flag_t;

typedef struct {
    uint32_t last_sample_ms;
    uint32_t missed_samples; /* since reset */
    uint16_t host_timeout_ms; /* 0 = off */
    bool stale_reported;
} supervisor_t;

void supervisor_reset(supervisor_t *supervisor, uint32_t now_ms, uint16_t host_timeout_ms);

/* Has the host been silent for longer than its time-out? */
bool supervisor_stale(const supervisor_t *supervisor, uint32_t now_ms);

/* The same, but true only once in a silence. */
bool supervisor_became_stale(supervisor_t *supervisor, uint32_t now_ms);

/* A sample came. Returns SUPERVISOR_HOST_STALE or 0. */
unsigned supervisor_sample(supervisor_t *supervisor, uint32_t now_ms);

/* Makes `command` safe to leave; all of it is in normalised units. If it is not finite, or
 * `flags` say that the host was stale, the command becomes `last`. It is then moved within the
 * move limit around `last`, and after that within its limits. Returns `flags` with those added
 * that had to be used. */
unsigned supervisor_gate(const mpc_config_t *limits, const float last[COMMANDS],
                         float command[COMMANDS], unsigned flags);

#endif
