#include "loop/supervisor.h"

#include "solver/number.h"

bool supervisor_active(const supervisor_t *supervisor)
{
    return supervisor->state == STATE_ARMED || supervisor->state == STATE_RUNNING
           || supervisor->state == STATE_HOLDING;
}

void supervisor_arm(supervisor_t *supervisor, const limits_t *limits, const float command[COMMANDS])
{
    for (int i = 0; i < COMMANDS && !supervisor->driving; i++) {
        supervisor->command[i] = clamp(command[i], limits->command_min[i], limits->command_max[i]);
    }
    supervisor->state = STATE_ARMED;
    supervisor->cause = CAUSE_NONE;
    supervisor->sensor_faults = 0;
    supervisor->solver_failures = 0;
    supervisor->deadline_misses = 0;
    supervisor->limited = 0;
}

void supervisor_enter(supervisor_t *supervisor, state_t state, cause_t cause)
{
    if (supervisor->state != STATE_STOPPED && supervisor->state != STATE_FAULT) {
        supervisor->state = (uint8_t)state;
        supervisor->cause = (uint8_t)cause;
    }
}

/* Counts what is wrong in a row; true beyond what is tolerated. */
static bool too_many(uint8_t *in_a_row, bool wrong, unsigned tolerated)
{
    *in_a_row = (uint8_t)(wrong ? *in_a_row + (*in_a_row < UINT8_MAX) : 0);
    return *in_a_row > tolerated;
}

void supervisor_sensor(supervisor_t *supervisor, cause_t fault)
{
    if (too_many(&supervisor->sensor_faults, fault != CAUSE_NONE, SENSOR_FAULTS_MAX)) {
        supervisor_enter(supervisor, STATE_STOPPED, fault);
    }
}

void supervisor_solver(supervisor_t *supervisor, bool failed)
{
    if (too_many(&supervisor->solver_failures, failed, SOLVER_FAILURES_MAX)) {
        supervisor_enter(supervisor, STATE_FAULT, CAUSE_SOLVER_FAILED);
    }
}

void supervisor_deadline(supervisor_t *supervisor, bool missed)
{
    if (too_many(&supervisor->deadline_misses, missed, DEADLINE_MISSES_MAX)) {
        supervisor_enter(supervisor, STATE_FAULT, CAUSE_DEADLINE_MISSED);
    }
}

void supervisor_told(supervisor_t *supervisor, const limits_t *limits,
                     const float command[COMMANDS])
{
    for (int i = 0; i < COMMANDS; i++) {
        const float above = command[i] - limits->command_min[i];
        supervisor->load[i] += limits->load_share * (above - supervisor->load[i]);
    }
    memcpy(supervisor->command, command, sizeof supervisor->command);
}

unsigned supervisor_gate(supervisor_t *supervisor, const settings_t *settings,
                         const limits_t *limits, float share, float command[COMMANDS],
                         unsigned flags)
{
    if (!all_finite(command, COMMANDS)) {
        flags |= SUPERVISOR_NOT_FINITE;
    }
    for (int i = 0; i < COMMANDS; i++) {
        const float last = supervisor->command[i];
        const float asked = (flags & SUPERVISOR_NOT_FINITE) != 0u ? last : command[i];
        const float move_max = share * smaller(settings->move_max[i], limits->move_max[i]);
        const float low = limits->command_min[i];
        float wanted = clamp(asked, settings->command_min[i], settings->command_max[i]);
        if (supervisor->load[i] > limits->load_max[i]) {
            /* At the mean that is allowed for ever; beyond it the mean would grow on. */
            wanted = smaller(wanted, low + limits->load_max[i]);
        }
        const float near = clamp(wanted, last - move_max, last + move_max);
        command[i] = clamp(near, low, limits->command_max[i]);
        if (command[i] < asked || command[i] > asked) {
            flags |= SUPERVISOR_LIMITED;
        }
    }
    supervisor->limited += (flags & SUPERVISOR_LIMITED) != 0u;
    supervisor_told(supervisor, limits, command);
    supervisor->driving = true;
    return flags;
}

void supervisor_safe(const supervisor_t *supervisor, const limits_t *limits,
                     float command[COMMANDS])
{
    const bool neutral =
        limits->safe_output == SAFE_NEUTRAL && supervisor->state != STATE_HOLDING;
    memcpy(command, neutral ? limits->neutral : supervisor->command,
           COMMANDS * sizeof command[0]);
}
