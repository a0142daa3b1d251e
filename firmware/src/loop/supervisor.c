#include "loop/supervisor.h"

#include "solver/number.h"

void supervisor_reset(supervisor_t *supervisor, const settings_t *built,
                      const float command[COMMANDS], uint32_t now_ms, uint16_t host_timeout_ms)
{
    for (int i = 0; i < COMMANDS && !supervisor->driving; i++) {
        supervisor->command[i] = clamp(command[i], built->command_min[i], built->command_max[i]);
    }
    supervisor->last_sample_ms = now_ms;
    supervisor->missed_samples = 0;
    supervisor->host_timeout_ms = host_timeout_ms;
    supervisor->stale_reported = false;
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

unsigned supervisor_gate(supervisor_t *supervisor, const settings_t *settings,
                         const settings_t *built, float command[COMMANDS], unsigned flags)
{
    if (!all_finite(command, COMMANDS)) {
        flags |= SUPERVISOR_NOT_FINITE;
    }
    for (int i = 0; i < COMMANDS; i++) {
        const float last = supervisor->command[i];
        const bool held = (flags & (SUPERVISOR_NOT_FINITE | SUPERVISOR_HOST_STALE)) != 0u;
        const float asked = held ? last : command[i];
        const float move_max = smaller(settings->move_max[i], built->move_max[i]);
        const float wanted = clamp(asked, settings->command_min[i], settings->command_max[i]);
        const float near = clamp(wanted, last - move_max, last + move_max);
        command[i] = clamp(near, built->command_min[i], built->command_max[i]);
        if (command[i] < asked || command[i] > asked) {
            flags |= SUPERVISOR_LIMITED;
        }
    }
    memcpy(supervisor->command, command, sizeof supervisor->command);
    supervisor->driving = true;
    return flags;
}
