#include "loop/control_loop.h"

#include <string.h>

#include "solver/number.h"

/* ------------------------------------------------------------------ what is sent */

/* `message` is the struct of that line of MESSAGES_TO_HOST. */
static void send(control_loop_t *loop, int line, const void *message)
{
    uint8_t content[FRAME_CONTENT_MAX];
    uint8_t frame[FRAME_SIZE_MAX];
    const size_t size = message_encode(&message_to_host[line], message, content);
    board_write(loop->board, frame, frame_encode(content, size, frame));
}

static void send_error(control_loop_t *loop, message_error_t code, uint8_t type)
{
    const error_t error = {.code = (uint8_t)code, .type = type};
    send(loop, TO_HOST_ERROR, &error);
}

static void send_info(control_loop_t *loop)
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
    const info_t info = {
        .version = PROTOCOL_VERSION,
        .model_hash = loop->config->model_hash,
        .build_id = loop->config->build_id,
        .board = board_name(loop->board),
        .sizes = sizes,
        .step_cost_unit = (uint8_t)board_step_cost_unit(loop->board),
        .rate_hz = CONTROL_RATE_HZ,
        .missed_samples = loop->supervisor.missed_samples,
        .lost_points = loop->reference.lost,
        .bad_frames = loop->decoder.bad_frames,
    };
    send(loop, TO_HOST_INFO, &info);
}

/* ------------------------------------------------------------------ physical to normalised */

static float normalised(float physical, float offset, float scale)
{
    return (physical - offset) / scale;
}

static void normalise_command(const controller_config_t *config, float command[COMMANDS])
{
    for (int i = 0; i < COMMANDS; i++) {
        command[i] = normalised(command[i], config->units.command_offset[i],
                                config->units.command_scale[i]);
    }
}

static void normalise_outputs(const controller_config_t *config, float outputs[OUTPUTS])
{
    for (int i = 0; i < OUTPUTS; i++) {
        outputs[i] = normalised(outputs[i], config->units.output_offset[i],
                                config->units.output_scale[i]);
    }
}

/* ------------------------------------------------------------------ the walk */

/* One sample on its walk, in normalised units. */
typedef struct {
    uint32_t k;
    bool observing; /* the command has come with the sample: nothing is controlled */
    unsigned flags; /* supervisor_flag_t */
    unsigned status; /* mpc_status_t, or MESSAGE_STATUS_NONE */
    float reference[HORIZON][OUTPUTS];
    mpc_result_t result;
    uint32_t step_cost;
} sample_t;

/* Crosses samples that never came: the actuators held their command meanwhile, and so does the
 * network. */
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

/* The signals of the sample, and the time at which it came. */
static void acquire(control_loop_t *loop, const request_t *request, sample_t *sample)
{
    sample->flags = supervisor_sample(&loop->supervisor, board_milliseconds(loop->board));
    sample->flags |= bridge_gap(loop, sample->k);
#if SIGNALS > 0
    for (int i = 0; i < SIGNALS; i++) {
        loop->mpc.signals[i] =
            normalised((float)request->signals[i] * SIGNAL_LSB, loop->config->signal_offset[i],
                       loop->config->signal_scale[i]);
    }
#else
    (void)request;
#endif
}

static void see_measured(control_loop_t *loop)
{
    float ratio[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++) {
        ratio[i] = loop->settings.disturbance_ratio;
    }
    estimate_update(&loop->estimate, ratio, loop->outputs, loop->mpc.outputs[0]);
}

static void see_signals(control_loop_t *loop)
{
#if SIGNAL_ESTIMATE
    const controller_config_t *config = loop->config;
    float ratio[OUTPUTS];
    float outputs[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++) {
        ratio[i] = loop->settings.disturbance_ratio * config->signal_trust[i];
        outputs[i] = 0.0f;
        for (int j = 0; j < SIGNALS; j++) {
            outputs[i] = mac(config->signal_map[i][j], loop->mpc.signals[j], outputs[i]);
        }
    }
    estimate_update(&loop->estimate, ratio, outputs, loop->mpc.outputs[0]);
#else
    (void)loop;
#endif
}

/* The offset between the outputs seen and those that the network predicts. The network goes on
 * without it; bounds of the outputs and the reference have it taken off. */
static void estimate(control_loop_t *loop, const sample_t *sample)
{
    const units_t *units = &loop->config->units;

    if (loop->measured && loop->measured_k == sample->k) {
        see_measured(loop);
    } else {
        see_signals(loop);
    }
    loop->measured = false;
    for (int i = 0; i < OUTPUTS; i++) {
        const float scale = units->output_scale[i];
        const float middle = units->output_offset[i] + loop->estimate.offset[i] * scale;
        loop->mpc_config.output_min[i] = normalised(loop->settings.output_min[i], middle, scale);
        loop->mpc_config.output_max[i] = normalised(loop->settings.output_max[i], middle, scale);
    }
}

/* The reference over the horizon, the offset taken off. */
static void reference(control_loop_t *loop, const request_t *request, sample_t *sample)
{
    if (sample->observing) {
        return;
    }
    reference_ring_put(&loop->reference, sample->k, sample->k + HORIZON, request->points.at[0]);
    if (reference_ring_horizon(&loop->reference, sample->k, sample->reference) > 0u) {
        sample->flags |= SUPERVISOR_LOST_POINT;
    }
    for (int j = 0; j < HORIZON; j++) {
        for (int i = 0; i < OUTPUTS; i++) {
            sample->reference[j][i] -= loop->estimate.offset[i];
        }
    }
}

static uint32_t now(void *context)
{
    const board_t *board = context;
    return board_ticks(board);
}

/* The command: the solver's, or the one that is observed. The step cost begins here. */
static void control(control_loop_t *loop, const request_t *request, sample_t *sample)
{
    const mpc_clock_t clock = {.now = now,
                               .context = loop->board,
                               .budget = STEP_BUDGET_US * board_ticks_per_us(loop->board)};

    board_step_cost_begin(loop->board);
    if (sample->observing) {
        sample->status = MESSAGE_STATUS_NONE;
        memcpy(sample->result.command, request->command, sizeof request->command);
        return;
    }
    /* The cast only adds the const that C99 does not add to arrays of arrays. */
    sample->result = mpc_step(&loop->mpc_config, &loop->mpc,
                              (const float(*)[OUTPUTS])sample->reference, &clock);
    sample->status = sample->result.status;
}

/* The last gate before the actuators; an observed command has passed them already. */
static void supervise(control_loop_t *loop, sample_t *sample)
{
    if (sample->observing) {
        return;
    }
    const units_t *units = &loop->config->units;
    const settings_t *built = &loop->config->settings;
    float *command = sample->result.command;
    float sent[COMMANDS];

    if (sample->result.status == MPC_NOT_FINITE || !all_finite(command, COMMANDS)) {
        sample->flags |= SUPERVISOR_NOT_FINITE;
    }
    for (int i = 0; i < COMMANDS; i++) {
        if (command[i] < loop->mpc_config.command_min[i]
            || command[i] > loop->mpc_config.command_max[i]) {
            sample->flags |= SUPERVISOR_LIMITED;
        }
        sent[i] = settings_command(&loop->settings, units, i, command[i]);
    }
    sample->flags = supervisor_gate(&loop->supervisor, &loop->settings, built, sent, sample->flags);
    if ((sample->flags & SUPERVISOR_INTERVENED) == 0u) {
        return; /* the network goes on with the solver's own bits */
    }
    memcpy(command, sent, sizeof sent);
    normalise_command(loop->config, command);
}

/* The actuators hang on the host, which applies the command that report sends. Here it counts as
 * applied: the network predicts the next sample with it. The step cost ends here. */
static void actuate(control_loop_t *loop, sample_t *sample)
{
    mpc_advance(&loop->mpc, sample->result.command);
    sample->step_cost = board_step_cost_end(loop->board);
    loop->next_k = sample->k + 1u;
}

/* COMMAND, in physical units. */
static void report(control_loop_t *loop, const sample_t *sample)
{
    const units_t *units = &loop->config->units;
    command_t command = {
        .k = sample->k,
        .status = (uint8_t)sample->status,
        .supervisor = (uint8_t)sample->flags,
        .iterations = sample->result.iterations,
        .cost = sample->result.cost,
        .step_cost = sample->step_cost,
    };
    for (int i = 0; i < COMMANDS; i++) {
        /* An observed command goes back as it came, within the bounds or not. */
        const float observed = sample->result.command[i];
        command.command[i] = sample->observing
                                 ? observed * units->command_scale[i] + units->command_offset[i]
                                 : loop->supervisor.command[i];
    }
    for (int i = 0; i < OUTPUTS; i++) {
        const float predicted = loop->mpc.outputs[0][i] + loop->estimate.offset[i];
        command.predicted[i] = predicted * units->output_scale[i] + units->output_offset[i];
    }
    loop->command = command;
    loop->answered = true;
    send(loop, TO_HOST_COMMAND, &command);
}

/* One sample goes round once, from its frame to its COMMAND. */
static void walk(control_loop_t *loop, const request_t *request, bool observing)
{
    sample_t sample = {.k = request->k, .observing = observing};

    acquire(loop, request, &sample);
    estimate(loop, &sample);
    reference(loop, request, &sample);
    control(loop, request, &sample);
    supervise(loop, &sample);
    actuate(loop, &sample);
    report(loop, &sample);
}

/* ------------------------------------------------------------------ answers */

/* Each takes one message of the host. It may normalise the numbers of the request in place. If it
 * returns an error, nothing has changed and the host is told. */

static message_error_t answer_hello(control_loop_t *loop, request_t *request)
{
    (void)request;
    send_info(loop);
    return MESSAGE_OK;
}

static message_error_t answer_reset(control_loop_t *loop, request_t *request)
{
    float start[COMMANDS];
    memcpy(start, request->command, sizeof start);
    normalise_command(loop->config, request->command);
    normalise_outputs(loop->config, request->outputs);
    if (!all_finite(request->command, COMMANDS) || !all_finite(request->outputs, OUTPUTS)) {
        return MESSAGE_BAD_VALUE;
    }
    mpc_reset(&loop->mpc, request->command, request->outputs);
    loop->estimate = (estimate_t){.offset = {0.0f}};
    loop->measured = false;
    reference_ring_reset(&loop->reference, request->k, request->outputs);
    supervisor_reset(&loop->supervisor, &loop->config->settings, start,
                     board_milliseconds(loop->board), request->host_timeout_ms);
    loop->next_k = request->k;
    loop->answered = false;
    loop->running = true;
    send_info(loop);
    return MESSAGE_OK;
}

static message_error_t answer_reference(control_loop_t *loop, request_t *request)
{
    for (uint32_t i = 0; i < request->points.count; i++) {
        normalise_outputs(loop->config, request->points.at[i]);
        reference_ring_put(&loop->reference, loop->next_k, request->k + i, request->points.at[i]);
    }
    return MESSAGE_OK;
}

static message_error_t answer_sample(control_loop_t *loop, request_t *request)
{
    normalise_outputs(loop->config, request->points.at[0]);
    walk(loop, request, false);
    return MESSAGE_OK;
}

static message_error_t answer_observe(control_loop_t *loop, request_t *request)
{
    normalise_command(loop->config, request->command);
    if (!all_finite(request->command, COMMANDS)) {
        return MESSAGE_BAD_VALUE;
    }
    walk(loop, request, true);
    return MESSAGE_OK;
}

static message_error_t answer_measurement(control_loop_t *loop, request_t *request)
{
    normalise_outputs(loop->config, request->outputs);
    loop->measured = true;
    loop->measured_k = request->k;
    memcpy(loop->outputs, request->outputs, sizeof loop->outputs);
    return MESSAGE_OK;
}

static message_error_t answer_stop(control_loop_t *loop, request_t *request)
{
    (void)request;
    loop->running = false;
    loop->supervisor.driving = false;
    send_info(loop);
    return MESSAGE_OK;
}

static void configure(control_loop_t *loop, const settings_t *settings)
{
    loop->settings = *settings;
    settings_normalise(settings, &loop->config->units, &loop->mpc_config);
}

static message_error_t answer_configure(control_loop_t *loop, request_t *request)
{
    if (!settings_valid(&request->settings, &loop->config->settings)) {
        return MESSAGE_BAD_VALUE;
    }
    configure(loop, &request->settings);
    send_info(loop);
    return MESSAGE_OK;
}

/* Who takes each message, line by line as in MESSAGES_FROM_HOST. */
#define ANSWER(NAME, name, type, when, order) answer_##name,
static message_error_t (*const answers[FROM_HOST_LINES])(control_loop_t *, request_t *) = {
    MESSAGES_FROM_HOST(ANSWER)};

static message_error_t take(control_loop_t *loop, const uint8_t *content, size_t size)
{
    request_t request;
    const message_error_t error = message_decode(content, size, &request);

    if (error != MESSAGE_OK) {
        return error;
    }
    if (message_from_host[request.line].running && !loop->running) {
        return MESSAGE_WRONG_STATE;
    }
    if (message_from_host[request.line].in_order && loop->answered
        && request.k + 1u == loop->next_k) {
        send(loop, TO_HOST_COMMAND, &loop->command); /* the answer, or the sample, was damaged */
        return MESSAGE_OK;
    }
    /* A k in the past is out of order as well: the difference wraps and becomes large. */
    if (message_from_host[request.line].in_order && request.k - loop->next_k > GAP_MAX) {
        return MESSAGE_OUT_OF_ORDER;
    }
    return answers[request.line](loop, &request);
}

void control_loop_start(control_loop_t *loop, board_t *board, const controller_config_t *config)
{
    memset(loop, 0, sizeof *loop);
    loop->board = board;
    loop->config = config;
    configure(loop, &config->settings);
    const boot_t boot = {.version = PROTOCOL_VERSION,
                         .reset_cause = (uint8_t)board_reset_cause(board),
                         .board = board_name(board)};
    send(loop, TO_HOST_BOOT, &boot);
}

void control_loop_poll(control_loop_t *loop)
{
    uint8_t byte;
    while (board_read_byte(loop->board, &byte)) {
        const size_t size = frame_decode(&loop->decoder, byte);
        if (size > 0u) {
            const message_error_t error = take(loop, loop->decoder.body, size);
            if (error != MESSAGE_OK) {
                send_error(loop, error, loop->decoder.body[0]);
            }
        }
    }
    if (loop->running
        && supervisor_became_stale(&loop->supervisor, board_milliseconds(loop->board))) {
        send_error(loop, MESSAGE_HOST_STALE, 0u);
    }
}
