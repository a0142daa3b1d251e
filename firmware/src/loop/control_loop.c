#include "loop/control_loop.h"

#include <string.h>

#include "wire/message.h"
#include "solver/number.h"

static void send(control_loop_t *loop, const uint8_t *content, size_t size)
{
    uint8_t frame[FRAME_SIZE_MAX];
    board_write(loop->board, frame, frame_encode(content, size, frame));
}

static void send_error(control_loop_t *loop, message_error_t error, uint8_t type)
{
    uint8_t content[FRAME_CONTENT_MAX];
    send(loop, content, message_encode_error(content, error, type));
}

static void send_info(control_loop_t *loop)
{
    uint8_t content[FRAME_CONTENT_MAX];
    const info_t info = {
        .model_hash = loop->config->model_hash,
        .build_id = loop->config->build_id,
        .board = board_name(loop->board),
        .step_cost_unit = (uint8_t)board_step_cost_unit(loop->board),
        .missed_samples = loop->supervisor.missed_samples,
        .lost_points = loop->reference.lost,
        .bad_frames = loop->decoder.bad_frames,
    };
    send(loop, content, message_encode_info(content, &info));
}

static float normalised(float physical, float offset, float scale)
{
    return (physical - offset) / scale;
}

static void normalise_point(const controller_config_t *config, float point[OUTPUTS])
{
    for (int i = 0; i < OUTPUTS; i++) {
        point[i] = normalised(point[i], config->units.output_offset[i], config->units.output_scale);
    }
}

/* From here on a request is in the units of the model. */
static void normalise(const controller_config_t *config, request_t *request)
{
    if (request->type == MESSAGE_RESET || request->type == MESSAGE_OBSERVE) {
        for (int i = 0; i < COMMANDS; i++) {
            request->command[i] = normalised(request->command[i], config->units.command_offset[i],
                                             config->units.command_scale[i]);
        }
    }
    if (request->type == MESSAGE_RESET || request->type == MESSAGE_POSITION) {
        normalise_point(config, request->position);
    }
    for (uint8_t i = 0; i < request->count; i++) {
        normalise_point(config, request->points[i]);
    }
}

static void take_signals(control_loop_t *loop, const request_t *request)
{
#if SIGNALS > 0
    for (int i = 0; i < SIGNALS; i++) {
        loop->mpc.signals[i] =
            normalised((float)request->signals[i] * SIGNAL_LSB, loop->config->signal_offset[i],
                       loop->config->signal_scale[i]);
    }
#else
    (void)loop;
    (void)request;
#endif
}

static void configure(control_loop_t *loop, const settings_t *settings)
{
    loop->settings = *settings;
    settings_normalise(settings, &loop->config->units, &loop->mpc_config);
}

static void see_measured(control_loop_t *loop)
{
    float ratio[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++) {
        ratio[i] = loop->settings.disturbance_ratio;
    }
    disturbance_update(&loop->disturbance, ratio, loop->position, loop->mpc.outputs[0]);
}

static void see_signals(control_loop_t *loop)
{
#if SIGNAL_ESTIMATE
    const controller_config_t *config = loop->config;
    float ratio[OUTPUTS];
    float position[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++) {
        ratio[i] = loop->settings.disturbance_ratio * config->signal_trust[i];
        position[i] = 0.0f;
        for (int j = 0; j < SIGNALS; j++) {
            position[i] = mac(config->signal_map[i][j], loop->mpc.signals[j], position[i]);
        }
    }
    disturbance_update(&loop->disturbance, ratio, position, loop->mpc.outputs[0]);
#else
    (void)loop;
#endif
}

/* The model goes on as it is; what it predicts counts with the disturbance added. */
static void estimate(control_loop_t *loop, uint32_t k)
{
    const units_t *units = &loop->config->units;

    if (loop->measured && loop->measured_k == k) {
        see_measured(loop);
    } else {
        see_signals(loop);
    }
    loop->measured = false;
    for (int i = 0; i < OUTPUTS; i++) {
        const float middle =
            units->output_offset[i] + loop->disturbance.offset[i] * units->output_scale;
        loop->mpc_config.output_min[i] =
            normalised(loop->settings.output_min[i], middle, units->output_scale);
        loop->mpc_config.output_max[i] =
            normalised(loop->settings.output_max[i], middle, units->output_scale);
    }
}

/* Samples that never came: the actuators held their command, so the model does. */
static unsigned bridge_gap(control_loop_t *loop, uint32_t k)
{
    unsigned flags = 0;
    while (loop->next_k != k) {
        float held[COMMANDS];
        memcpy(held, loop->mpc.commands[0], sizeof held);
        mpc_advance(&loop->mpc, held);
        loop->supervisor.missed_samples++;
        loop->next_k++;
        flags = SUPERVISOR_GAP;
    }
    return flags;
}

static unsigned take_reference(control_loop_t *loop, const request_t *request,
                               float horizon[HORIZON][OUTPUTS])
{
    reference_put(&loop->reference, request->k, request->k + HORIZON, request->points[0]);
    const uint32_t lost = reference_horizon(&loop->reference, request->k, horizon);
    for (int j = 0; j < HORIZON; j++) {
        for (int i = 0; i < OUTPUTS; i++) {
            horizon[j][i] -= loop->disturbance.offset[i];
        }
    }
    return lost > 0u ? SUPERVISOR_LOST_POINT : 0u;
}

static void send_command(control_loop_t *loop, uint32_t k, const mpc_result_t *result,
                         unsigned status, unsigned flags, uint32_t step_cost)
{
    const controller_config_t *config = loop->config;
    uint8_t content[FRAME_CONTENT_MAX];
    command_t command = {
        .k = k,
        .status = (uint8_t)status,
        .supervisor = (uint8_t)flags,
        .iterations = result->iterations,
        .cost = result->cost,
        .step_cost = step_cost,
    };
    for (int i = 0; i < COMMANDS; i++) {
        /* An observed command is as it came. */
        const float asked = result->command[i];
        command.command[i] =
            status == MESSAGE_STATUS_NONE
                ? asked * config->units.command_scale[i] + config->units.command_offset[i]
                : settings_command(&loop->settings, &config->units, i, asked);
    }
    for (int i = 0; i < OUTPUTS; i++) {
        const float predicted = loop->mpc.outputs[0][i] + loop->disturbance.offset[i];
        command.predicted[i] =
            predicted * config->units.output_scale + config->units.output_offset[i];
    }
    send(loop, content, message_encode_command(content, &command));
}

static uint32_t now(void *context)
{
    const board_t *board = context;
    return board_ticks(board);
}

/* The walk: one sample goes round once, from its frame to its COMMAND. OBSERVE goes the same way
   with the command that it brings: the solver and the supervisor's gate are not asked. */
static void walk(control_loop_t *loop, const request_t *request)
{
    const mpc_config_t *config = &loop->mpc_config;
    const mpc_clock_t clock = {.now = now,
                               .context = loop->board,
                               .budget = STEP_BUDGET_US * board_ticks_per_us(loop->board)};
    const bool observing = request->type == MESSAGE_OBSERVE;
    unsigned status = MESSAGE_STATUS_NONE;
    float horizon[HORIZON][OUTPUTS];
    mpc_result_t result = {.iterations = 0};

    /* receive */
    unsigned flags = supervisor_sample(&loop->supervisor, board_milliseconds(loop->board));
    flags |= bridge_gap(loop, request->k);
    /* estimate */
    take_signals(loop, request);
    estimate(loop, request->k);
    /* reference */
    if (!observing) {
        flags |= take_reference(loop, request, horizon);
    }
    board_step_cost_begin(loop->board);
    if (observing) {
        memcpy(result.command, request->command, sizeof result.command);
    } else {
        /* control; the cast only adds the const that C99 does not add to arrays of arrays */
        result = mpc_step(config, &loop->mpc, (const float(*)[OUTPUTS])horizon, &clock);
        status = result.status;
        /* supervise */
        flags |= result.status == MPC_NOT_FINITE ? SUPERVISOR_NOT_FINITE : 0u;
        flags = supervisor_gate(config, loop->mpc.commands[0], result.command, flags);
    }
    /* predict */
    mpc_advance(&loop->mpc, result.command);
    const uint32_t step_cost = board_step_cost_end(loop->board);
    loop->next_k = request->k + 1u;
    /* actuate */
    send_command(loop, request->k, &result, status, flags, step_cost);
}

static void reset(control_loop_t *loop, const request_t *request)
{
    mpc_reset(&loop->mpc, request->command, request->position);
    loop->disturbance = (disturbance_t){.offset = {0.0f}};
    loop->measured = false;
    reference_reset(&loop->reference, request->k, request->position);
    supervisor_reset(&loop->supervisor, board_milliseconds(loop->board), request->host_timeout_ms);
    loop->next_k = request->k;
    loop->running = true;
}

static void preload(control_loop_t *loop, const request_t *request)
{
    for (uint8_t i = 0; i < request->count; i++) {
        reference_put(&loop->reference, loop->next_k, request->k + i, request->points[i]);
    }
}

/* What forbids a well-formed, normalised request, or MESSAGE_OK. */
static message_error_t refusal(const control_loop_t *loop, const request_t *request)
{
    const bool has_command = request->type == MESSAGE_RESET || request->type == MESSAGE_OBSERVE;
    const bool is_sample = request->type == MESSAGE_SAMPLE || request->type == MESSAGE_OBSERVE;

    if (!loop->running && (is_sample || request->type == MESSAGE_REFERENCE
                           || request->type == MESSAGE_POSITION)) {
        return MESSAGE_WRONG_STATE;
    }
    if (is_sample && request->k - loop->next_k > GAP_MAX) {
        return MESSAGE_OUT_OF_ORDER; /* in the past as well: the difference wraps */
    }
    if (has_command && !all_finite(request->command, COMMANDS)) {
        return MESSAGE_BAD_VALUE;
    }
    if (request->type == MESSAGE_RESET && !all_finite(request->position, OUTPUTS)) {
        return MESSAGE_BAD_VALUE;
    }
    if (request->type == MESSAGE_CONFIGURE && !settings_valid(&request->settings)) {
        return MESSAGE_BAD_VALUE;
    }
    return MESSAGE_OK;
}

static void answer(control_loop_t *loop, const uint8_t *content, size_t size)
{
    request_t request;
    message_error_t error = message_decode(content, size, &request);
    if (error == MESSAGE_OK) {
        normalise(loop->config, &request);
        error = refusal(loop, &request);
    }
    if (error != MESSAGE_OK) {
        send_error(loop, error, content[0]);
        return;
    }
    switch (request.type) {
    case MESSAGE_HELLO:
        send_info(loop);
        break;
    case MESSAGE_RESET:
        reset(loop, &request);
        send_info(loop);
        break;
    case MESSAGE_CONFIGURE:
        configure(loop, &request.settings);
        send_info(loop);
        break;
    case MESSAGE_POSITION:
        loop->measured = true;
        loop->measured_k = request.k;
        memcpy(loop->position, request.position, sizeof loop->position);
        break;
    case MESSAGE_REFERENCE:
        preload(loop, &request);
        break;
    default: /* SAMPLE, OBSERVE */
        walk(loop, &request);
        break;
    }
}

void control_loop_start(control_loop_t *loop, board_t *board, const controller_config_t *config)
{
    uint8_t content[FRAME_CONTENT_MAX];

    memset(loop, 0, sizeof *loop);
    loop->board = board;
    loop->config = config;
    configure(loop, &config->settings);
    send(loop, content,
         message_encode_boot(content, (uint8_t)board_reset_cause(board), board_name(board)));
}

void control_loop_poll(control_loop_t *loop)
{
    uint8_t byte;
    while (board_read_byte(loop->board, &byte)) {
        const size_t size = frame_decode(&loop->decoder, byte);
        if (size > 0u) {
            answer(loop, loop->decoder.body, size);
        }
    }
    if (loop->running
        && supervisor_became_stale(&loop->supervisor, board_milliseconds(loop->board))) {
        send_error(loop, MESSAGE_HOST_STALE, 0u);
    }
}
