#include "loop/supervisor.h"

#include "solver/number.h"

void supervisor_reset(supervisor_t *supervisor, uint32_t now_ms, uint16_t host_timeout_ms)
{
    *supervisor = (supervisor_t){.last_sample_ms = now_ms, .host_timeout_ms = host_timeout_ms};
}

bool supervisor_stale(const supervisor_t *supervisor, uint32_t now_ms)
{
    return supervisor->host_timeout_ms != 0u
           && now_ms - supervisor->last_sample_ms > supervisor->host_timeout_ms;
}

bool supervisor_became_stale(supervisor_t *supervisor, uint32_t now_ms)
{
    if (supervisor->stale_reported || !supervisor_stale(supervisor, now_ms)) {
        return false;
    }
    supervisor->stale_reported = true;
    return true;
}

unsigned supervisor_sample(supervisor_t *supervisor, uint32_t now_ms)
{
    const bool stale = supervisor_stale(supervisor, now_ms);
    supervisor->last_sample_ms = now_ms;
    supervisor->stale_reported = false;
    return stale ? SUPERVISOR_HOST_STALE : 0u;
}

unsigned supervisor_gate(const mpc_config_t *limits, const float last[COMMANDS],
                         float command[COMMANDS], unsigned flags)
{
    if (!all_finite(command, COMMANDS)) {
        flags |= SUPERVISOR_NOT_FINITE;
    }
    if ((flags & (SUPERVISOR_NOT_FINITE | SUPERVISOR_HOST_STALE)) != 0u) {
        memcpy(command, last, COMMANDS * sizeof command[0]);
    }
    for (int i = 0; i < COMMANDS; i++) {
        const float asked = command[i];
        const float move_max = limits->move_max[i];
        const float near = clamp(asked, last[i] - move_max, last[i] + move_max);
        command[i] = clamp(near, limits->command_min[i], limits->command_max[i]);
        if (command[i] < asked || command[i] > asked) {
            flags |= SUPERVISOR_LIMITED;
        }
    }
    return flags;
}
