/* What each message of the host does. An answer may normalise the numbers of its request in place;
 * if it returns an error, nothing has changed and the host is told. */
#include "loop/control_loop.h"

#include <string.h>

#include "loop/kept.h"
#include "solver/loop_bound.h"
#include "solver/number.h"

void loop_send_info(control_loop_t *loop)
{
    static const info_sizes_t sizes = {
        .commands = COMMANDS,
        .outputs = OUTPUTS,
        .signals = SIGNALS,
        .input_lags = INPUT_LAGS,
        .output_lags = OUTPUT_LAGS,
        .input_delay = INPUT_DELAY,
        .horizon = HORIZON,
        .control_horizon = CONTROL_HORIZON,
    };
    loop->counters.lost_points = loop->reference.lost;
    loop->counters.limited = loop->supervisor.limited;
    loop->counters.bad_frames = loop->decoder.bad_frames;
    loop->counters.sensor_samples = loop->sensor.samples;
    loop->counters.sensor_dropped = loop->sensor.dropped + loop->sensing.implausible;
    loop->counters.actuator_bad = loop->status.bad;
    loop->counters.stack_free = board_stack_free(loop->board);
    const info_t info = {
        .version = PROTOCOL_VERSION,
        .model_hash = loop->config->model_hash,
        .build_id = loop->config->build_id,
        .board = board_name(loop->board),
        .sizes = sizes,
        .step_cost_unit = (uint8_t)board_step_cost_unit(loop->board),
        .rate_hz = CONTROL_RATE_HZ,
        .trajectory_points = REFERENCE_POINTS,
        .state = loop->supervisor.state,
        .cause = loop->supervisor.cause,
        .source = loop->source,
        .source_k = loop->source_k,
        .counters = loop->counters,
    };
    (void)loop_send(loop, TO_HOST_INFO, &info);
}

void loop_configure(control_loop_t *loop, const settings_t *settings)
{
    loop->settings = *settings;
    settings_normalise(settings, &loop->config->units, &loop->mpc_config);
}

static void normalise_command(const units_t *units, float command[COMMANDS])
{
    for (int i = 0; i < COMMANDS; i++) {
        command[i] = (command[i] - units->command_offset[i]) / units->command_scale[i];
    }
}

static void normalise_outputs(const units_t *units, float outputs[OUTPUTS])
{
    for (int i = 0; i < OUTPUTS; i++) {
        outputs[i] = (outputs[i] - units->output_offset[i]) / units->output_scale[i];
    }
}

/* A number may be finite and not so once it is divided by its scale. */
static bool command_valid(const units_t *units, const float physical[COMMANDS])
{
    float command[COMMANDS];
    memcpy(command, physical, sizeof command);
    normalise_command(units, command);
    return all_finite(command, COMMANDS);
}

static bool signals_valid(const controller_config_t *config, const float signals[SIGNAL_SLOTS])
{
    float normalised[SIGNAL_SLOTS] = {0.0f};
    for (int i = 0; i < SIGNALS; i++) {
        normalised[i] = (signals[i] - config->signal_offset[i]) / config->signal_scale[i];
    }
    return all_finite(normalised, SIGNAL_SLOTS);
}

/* A message of the past must not be acted on. */
static bool too_old(control_loop_t *loop, uint32_t host_us)
{
    const uint32_t now_us = board_microseconds(loop->board);
    const uint32_t age_us = host_clock_age(&loop->host_clock, now_us, host_us);
    const bool old = loop->times.age_max_ms > 0u && age_us > loop->times.age_max_ms * 1000u;

    loop->counters.refused += old;
    return old;
}

static message_error_t answer_hello(control_loop_t *loop, request_t *request)
{
    (void)request;
    loop_send_info(loop);
    const crash_t *crash = board_crash(loop->board);
    if (crash != NULL) {
        const crash_report_t message = {
            .cause = crash->cause,
            .registers = {crash->pc, crash->lr, crash->psr, crash->status, crash->address,
                          crash->stack_free},
        };
        (void)loop_send(loop, TO_HOST_CRASH, &message);
    }
    return MESSAGE_OK;
}

static bool modes_valid(const modes_t *modes)
{
    return modes->clock < CLOCKS && modes->wiring < WIRINGS && modes->source < SOURCES
           && modes->adapts <= 1u && modes->host_lost < HOST_LOST_CHOICES;
}

static message_error_t answer_arm(control_loop_t *loop, request_t *request)
{
    const uint32_t now_us = board_microseconds(loop->board);
    const units_t *units = &loop->config->units;

    /* A run that goes on is not armed from under itself; one that holds its command may go on. The
     * ARM of this run comes again where its answer was damaged. */
    if (loop->supervisor.state == STATE_RUNNING && loop->modes.wiring == WIRING_MCU) {
        if (request->k != loop->first_k || request->host_us != loop->armed_us) {
            return MESSAGE_WRONG_STATE;
        }
        loop_send_info(loop);
        return MESSAGE_OK;
    }
    normalise_outputs(units, request->outputs);
    if (!modes_valid(&request->modes) || !command_valid(units, request->command)
        || !all_finite(request->outputs, OUTPUTS)) {
        return MESSAGE_BAD_VALUE;
    }
    loop->modes = request->modes;
    loop->times = request->times;
    /* What goes on being driven may move as far as the time since its last command allows. */
    loop->gate_us = loop->supervisor.driving ? loop->gate_us : now_us - PERIOD_US;
    supervisor_arm(&loop->supervisor, &loop->config->limits, request->command);
    memcpy(loop->drive, loop->supervisor.command, sizeof loop->drive); /* until DRIVE comes */
    memcpy(request->command, loop->supervisor.command, sizeof request->command);
    normalise_command(units, request->command);
    mpc_reset(&loop->mpc, request->command, request->outputs);
    observer_reset(&loop->observer);
    loop->unexplained = (estimate_t){.offset = {0.0f}};
    loop->unmeasured = 0;
    loop->tethered_samples = request->tethered_samples;
    sensor_doubt_reset(&loop->doubt);
    reference_reset(&loop->reference, request->k, request->outputs);
    loop->counters = (counters_t){.telemetry_dropped = loop->counters.telemetry_dropped};
    loop->first_k = request->k;
    loop->source = request->modes.source;
    loop->source_k = request->k;
    loop->next_k = request->k;
    loop->answered = false;
    loop->measured = false;
    loop->driven = false;
    loop->waiting = 0;
    loop->late = false;
    loop->unanswered = 0;
    loop->actuator = (actuator_t){0}; /* they may have been without power: all is said again */
    loop->safe_state = STATE_ARMED;
    loop->due_us = now_us + PERIOD_US;
    loop->armed_us = request->host_us;
    loop->host_seen_us = loop_time(loop);
    host_clock_start(&loop->host_clock, now_us, request->host_us);
    sensing_start(&loop->sensing, now_us);
    loop_send_info(loop);
    return MESSAGE_OK;
}

static message_error_t answer_stop(control_loop_t *loop, request_t *request)
{
    supervisor_t *supervisor = &loop->supervisor;

    (void)request;
    if (loop->modes.wiring == WIRING_MCU && supervisor_active(supervisor)) {
        supervisor_enter(supervisor, STATE_STOPPED, CAUSE_ASKED);
    } else {
        /* Said once more, or where the host drives the actuators: they are let go. */
        /* After a crash nobody knows who drove them. */
        if ((loop->modes.wiring == WIRING_MCU && supervisor->driving)
            || supervisor->cause == CAUSE_CRASHED) {
            loop_let_go(loop);
        }
        supervisor->driving = false;
        supervisor->state = STATE_IDLE;
        supervisor->cause = CAUSE_ASKED;
    }
    loop_send_info(loop);
    return MESSAGE_OK;
}

static message_error_t answer_reference(control_loop_t *loop, request_t *request)
{
    for (uint32_t i = 0; i < request->points.count; i++) {
        LOOP_BOUND(MESSAGE_POINTS_MAX);
        normalise_outputs(&loop->config->units, request->points.at[i]);
        reference_put(&loop->reference, request->k + i, request->points.at[i]);
    }
    return MESSAGE_OK;
}

static message_error_t answer_trajectory(control_loop_t *loop, request_t *request)
{
    for (uint32_t i = 0; i < request->points.count; i++) {
        LOOP_BOUND(MESSAGE_POINTS_MAX);
        normalise_outputs(&loop->config->units, request->points.at[i]);
    }
    /* The cast only adds the const that C99 does not add to arrays of arrays. */
    return reference_upload(&loop->reference, request->first, request->points.count,
                            (const float(*)[OUTPUTS])request->points.at)
               ? MESSAGE_OK
               : MESSAGE_BAD_VALUE;
}

static message_error_t answer_trajectory_end(control_loop_t *loop, request_t *request)
{
    for (int i = 0; i < OUTPUTS; i++) {
        request->outputs[i] /= loop->config->units.output_scale[i];
    }
    if (!reference_follow(&loop->reference, request->count, request->periodic != 0u, request->step,
                          request->outputs)) {
        return MESSAGE_INCOMPLETE;
    }
    loop_send_info(loop);
    return MESSAGE_OK;
}

static message_error_t answer_sample(control_loop_t *loop, request_t *request)
{
    if (loop->modes.wiring != WIRING_HOST) {
        return MESSAGE_WRONG_STATE;
    }
    if (!signals_valid(loop->config, request->signals)) {
        return MESSAGE_BAD_VALUE;
    }
    if (too_old(loop, request->host_us)) {
        return MESSAGE_TOO_OLD;
    }
    normalise_outputs(&loop->config->units, request->points.at[0]);
    reference_put(&loop->reference, request->k + HORIZON, request->points.at[0]);
    memcpy(loop->telemetry.signals, request->signals, sizeof request->signals);
    loop_sample(loop, request->k, NULL);
    return MESSAGE_OK;
}

static message_error_t answer_observe(control_loop_t *loop, request_t *request)
{
    if (loop->modes.wiring != WIRING_HOST) {
        return MESSAGE_WRONG_STATE;
    }
    if (!command_valid(&loop->config->units, request->command)
        || !signals_valid(loop->config, request->signals)) {
        return MESSAGE_BAD_VALUE;
    }
    memcpy(loop->telemetry.signals, request->signals, sizeof request->signals);
    loop_sample(loop, request->k, request->command);
    return MESSAGE_OK;
}

static message_error_t answer_measurement(control_loop_t *loop, request_t *request)
{
    if (too_old(loop, request->host_us)) {
        return MESSAGE_TOO_OLD;
    }
    normalise_outputs(&loop->config->units, request->outputs);
    loop->measured = true;
    loop->measured_k = request->k;
    memcpy(loop->outputs, request->outputs, sizeof loop->outputs);
    return MESSAGE_OK;
}

static message_error_t answer_drive(control_loop_t *loop, request_t *request)
{
    if (loop->modes.wiring != WIRING_MCU
        || (loop->modes.source != SOURCE_HOST && loop->source != SOURCE_HOST)) {
        return MESSAGE_WRONG_STATE;
    }
    if (!command_valid(&loop->config->units, request->command)) {
        return MESSAGE_BAD_VALUE;
    }
    if (too_old(loop, request->host_us)) {
        return MESSAGE_TOO_OLD;
    }
    loop->driven = true;
    loop->driven_k = request->k;
    memcpy(loop->drive, request->command, sizeof loop->drive);
    return MESSAGE_OK;
}

static message_error_t answer_heartbeat(control_loop_t *loop, request_t *request)
{
    /* What is under way to the host now counts as lost until the next heartbeat. */
    loop->counters.telemetry_lost = loop->counters.telemetry_sent - request->received;
    (void)host_clock_age(&loop->host_clock, board_microseconds(loop->board), request->host_us);
    return MESSAGE_OK;
}

static message_error_t answer_configure(control_loop_t *loop, request_t *request)
{
    if (!settings_valid(&request->settings, &loop->config->settings)) {
        return MESSAGE_BAD_VALUE;
    }
    loop_configure(loop, &request->settings);
    loop_send_info(loop);
    return MESSAGE_OK;
}

/* A request comes again where its answer was damaged: the source that is in force changes nothing,
 * and the one that is still to come may be chosen anew. */
static message_error_t answer_switch(control_loop_t *loop, request_t *request)
{
    const uint8_t source = request->modes.source;
    const uint32_t next = loop_next(loop);
    const bool reached = (int32_t)(next - loop->source_k) >= 0;

    if (loop->modes.wiring != WIRING_MCU || loop->supervisor.state == STATE_HOLDING) {
        return MESSAGE_WRONG_STATE;
    }
    if (source >= SOURCES) {
        return MESSAGE_BAD_VALUE;
    }
    if (source == SOURCE_MPC && !reference_ahead(&loop->reference)) {
        return MESSAGE_INCOMPLETE;
    }
    if (source != loop->source || !reached) {
        const bool ahead = request->k != 0u && (int32_t)(request->k - next) > 0;
        loop_choose_source(loop, next); /* the one before, if its turn has come */
        loop->driven = loop->driven && loop->modes.source == SOURCE_HOST;
        loop->source = source;
        loop->source_k = ahead ? request->k : next;
    }
    loop_send_info(loop);
    return MESSAGE_OK;
}

/* What an element of output i's row is multiplied by to be physical: its gain over output j, and
 * a product. */
static float gain_unit(const float *scale, int i, int j)
{
    return scale[i] / scale[j];
}

typedef char same_slots[CURVE_SLOTS == MESSAGE_CURVES ? 1 : -1];

/* All coordinates of a point have the same scale. */
static float curve_unit(const float *scale, int i)
{
    return CURVE_SCALE / scale[i];
}

static void send_adaptation(control_loop_t *loop, uint8_t row)
{
    const adaptation_t *learned = &loop->adaptation;
    const float *const taken = learned->taken.row[row];
    const float *const scale = loop->config->units.output_scale;
    adaptation_report_t report = {
        .row = row,
        .believed = learned->believed,
        .doubted = learned->doubted,
        .offset = taken[ADAPTATION_OFFSET] * scale[row],
        .gain_ignorance = adaptation_ignorance(learned, row, adaptation_gain(row, row)),
        .offset_ignorance = adaptation_ignorance(learned, row, ADAPTATION_OFFSET),
    };

    for (int j = 0; j < OUTPUTS; j++) {
        const int element = adaptation_gain(row, j);
        const float slope = element < 0 ? 0.0f : taken[element];
        report.gain[j] = (slope + (float)(j == row)) * gain_unit(scale, row, j);
    }
    for (int slot = 0; slot < CURVE_SLOTS; slot++) {
        const int element = adaptation_curve(row, slot);
        if (element >= 0) {
            report.curve[slot] = taken[element] * curve_unit(scale, row);
            report.curve_ignorance =
                larger(report.curve_ignorance, adaptation_ignorance(learned, row, element));
        }
    }
    (void)loop_send(loop, TO_HOST_ADAPTATION, &report);
}

/* False: there is no such element, and the wire has not what stands for none. */
static bool put(float row[FEATURES], int element, float value)
{
    if (element >= 0) {
        row[element] = value;
    }
    return element >= 0 || !(value < 0.0f || value > 0.0f);
}

static message_error_t answer_adapt(control_loop_t *loop, request_t *request)
{
    const float *scale = loop->config->units.output_scale;
    const uint8_t row = request->row;
    output_map_t map = loop->adaptation.taken;
    bool known = row < OUTPUTS;

    for (int j = 0; known && j < OUTPUTS; j++) {
        const float gain = request->outputs[j] / gain_unit(scale, row, j);
        known = is_finite(gain)
                && put(map.row[row], adaptation_gain(row, j), gain - (float)(j == row));
    }
    for (int slot = 0; known && slot < CURVE_SLOTS; slot++) {
        const float curve = request->row_curve[slot] / curve_unit(scale, row);
        known = is_finite(curve) && put(map.row[row], adaptation_curve(row, slot), curve);
    }
    if (known) {
        map.row[row][ADAPTATION_OFFSET] = request->row_offset / scale[row];
    }
    if (!known || !adaptation_set(&loop->adaptation, &map)) {
        return MESSAGE_BAD_VALUE;
    }
    send_adaptation(loop, row);
    return MESSAGE_OK;
}

static message_error_t answer_ask_adaptation(control_loop_t *loop, request_t *request)
{
    if (request->row >= OUTPUTS) {
        return MESSAGE_BAD_VALUE;
    }
    send_adaptation(loop, request->row);
    return MESSAGE_OK;
}

/* Erasing stops the core for up to two seconds: nothing may be driven, not even safe. What has been
 * done already is not done again where its answer was damaged. */
static message_error_t answer_keep(control_loop_t *loop, request_t *request)
{
    uint32_t number = loop->kept_number;

    if (request->keep >= KEEP_CHOICES) {
        return MESSAGE_BAD_VALUE;
    }
    if (request->keep != KEEP_ASK && loop->supervisor.state != STATE_IDLE) {
        return MESSAGE_WRONG_STATE;
    }
    if (request->keep == KEEP_STORE) {
        number = kept_write(loop->board, &loop->settings, &loop->adaptation.taken);
        if (number == 0u) {
            return MESSAGE_NOT_KEPT;
        }
    } else if (request->keep == KEEP_FORGET) {
        if (!kept_forget(loop->board)) {
            return MESSAGE_NOT_KEPT;
        }
        number = 0u;
    }
    loop->kept_number = number;
    const kept_report_t report = {
        .can_keep = board_page_size(loop->board) > 0u,
        .number = loop->kept_number,
    };
    (void)loop_send(loop, TO_HOST_KEPT, &report);
    return MESSAGE_OK;
}

/* Who takes each message, line by line as in MESSAGES_FROM_HOST. */
#define ANSWER(NAME, name, type, when, order) answer_##name,
static message_error_t (*const answers[FROM_HOST_LINES])(control_loop_t *, request_t *) = {
    MESSAGES_FROM_HOST(ANSWER)};

message_error_t loop_answer(control_loop_t *loop, const uint8_t *content, size_t size)
{
    request_t request;
    const message_error_t error = message_decode(content, size, &request);

    if (error != MESSAGE_OK) {
        return error;
    }
    /* A wrong image says what it is, and does nothing. */
    if (loop->image != IMAGE_GOOD && request.line != FROM_HOST_HELLO) {
        return MESSAGE_WRONG_IMAGE;
    }
    const message_line_t *line = &message_from_host[request.line];
    const bool active = supervisor_active(&loop->supervisor);
    if ((line->when == RUNNING && !active) || (line->when == RESTING && active)) {
        return MESSAGE_WRONG_STATE;
    }
    if (line->in_order && loop->answered && request.k + 1u == loop->next_k) {
        /* The answer, or the sample, was damaged. */
        (void)loop_send(loop, TO_HOST_TELEMETRY, &loop->telemetry);
        return MESSAGE_OK;
    }
    /* A k in the past is out of order as well: the difference wraps and becomes large. */
    if (line->in_order && request.k - loop->next_k > GAP_MAX) {
        return MESSAGE_OUT_OF_ORDER;
    }
    return answers[request.line](loop, &request);
}
