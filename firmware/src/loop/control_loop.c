#include "loop/control_loop.h"

#include <string.h>

#include "loop/kept.h"
#include "solver/loop_bound.h"
#include "solver/number.h"

bool loop_send(control_loop_t *loop, int line, const void *message)
{
    uint8_t content[FRAME_CONTENT_MAX];
    uint8_t frame[FRAME_SIZE_MAX];
    const size_t size = message_encode(&message_to_host[line], message, content);
    return board_write(loop->board, PORT_HOST, frame, frame_encode(content, size, frame));
}

uint32_t loop_time(const control_loop_t *loop)
{
    return supervisor_active(&loop->supervisor) && loop->modes.clock == CLOCK_SAMPLES
               ? (loop->next_k - loop->first_k + loop->waiting) * PERIOD_US
               : board_microseconds(loop->board);
}

uint32_t loop_next(const control_loop_t *loop)
{
    return loop->next_k + (loop->waiting > 0u ? loop->waiting - 1u : 0u);
}

/* Who finds the command of sample k; another one may have been chosen for a later sample. */
static uint8_t source_of(const control_loop_t *loop, uint32_t k)
{
    return (int32_t)(k - loop->source_k) >= 0 ? loop->source : loop->modes.source;
}

/* Silences that count as such; 0: none does. */
static bool passed(uint32_t since_us, uint32_t now_us, uint16_t limit_ms)
{
    return limit_ms > 0u && now_us - since_us > limit_ms * 1000u;
}

/* Once it is, until a frame comes: 71 minutes later the clock says that one has just come. */
static bool host_silent(const control_loop_t *loop)
{
    return loop->host_gone
           || passed(loop->host_seen_us, loop_time(loop), loop->times.host_timeout_ms);
}

/* Samples without a measurement after which what was measured last fades: a slow tracker has some
 * in between. */
#define FADE_AFTER ((uint16_t)(0.25f * CONTROL_RATE_HZ))

static float normalised(float physical, float offset, float scale)
{
    return (physical - offset) / scale;
}

static float physical(float normalised, float offset, float scale)
{
    return normalised * scale + offset;
}

/* ------------------------------------------------------------------ the walk */

/* One sample on its walk. */
typedef struct {
    uint32_t k;
    uint32_t time_us;
    const float *observed; /* its command, which somebody else has chosen; NULL: it is controlled */
    unsigned flags;        /* supervisor_flag_t */
    unsigned status;       /* mpc_status_t, or MESSAGE_STATUS_NONE */
    float reference[HORIZON][OUTPUTS]; /* normalised */
    mpc_result_t result;               /* its command is normalised, too */
    float command[COMMANDS];           /* physical */
    uint32_t step_cost;
    uint16_t latency_us;
} sample_t;

/* Crosses samples that never came: the actuators held their command meanwhile, and so does the
 * network. */
static void bridge_gap(control_loop_t *loop, sample_t *sample)
{
    while (loop->next_k != sample->k) {
        LOOP_BOUND_AFTER_GAP(GAP_MAX, 0u);
        float held[COMMANDS];
        memcpy(held, loop->mpc.commands[0], sizeof held);
        mpc_advance(&loop->mpc, held);
        loop->counters.missed_samples++;
        loop->next_k++;
        sample->flags |= SUPERVISOR_GAP;
    }
}

void loop_choose_source(control_loop_t *loop, uint32_t k)
{
    const uint8_t source = source_of(loop, k);
    if (source == SOURCE_HOST && loop->modes.source != SOURCE_HOST && !loop->driven) {
        memcpy(loop->drive, loop->supervisor.command, sizeof loop->drive);
    }
    loop->modes.source = source;
}

/* What the sensor has brought since it was asked last; nothing is no fault, but may be silence. */
static void judge_sensor(control_loop_t *loop)
{
    if (loop->sensing.fresh || loop->sensing.fault != CAUSE_NONE) {
        supervisor_sensor(&loop->supervisor, (cause_t)loop->sensing.fault);
    }
    loop->sensing.fresh = false;
    loop->sensing.fault = CAUSE_NONE;
}

/* Signals that are not believed count as what they should be. What the sensor has not brought anew
 * is no evidence. */
static void doubt_signals(control_loop_t *loop, bool fresh)
{
#if SIGNAL_DOUBT
    if (fresh) {
        sensor_doubt_step(&loop->config->doubt, &loop->config->signal_model, &loop->doubt,
                          loop->mpc.signals, loop->mpc.outputs[0],
                          loop->mpc.commands[INPUT_DELAY]);
    }
    for (int i = 0; i < SIGNALS; i++) {
        if (loop->doubt.doubted[i]) {
            loop->mpc.signals[i] = loop->doubt.expected[i];
        }
    }
#else
    (void)loop, (void)fresh;
#endif
}

/* The signals of the sample. Those of the MCU's own sensor are calibrated here; those of SAMPLE
 * are calibrated already. */
static void acquire(control_loop_t *loop, sample_t *sample)
{
    const controller_config_t *config = loop->config;

    sample->time_us = board_microseconds(loop->board);
    bridge_gap(loop, sample);
    loop_choose_source(loop, sample->k);
    if (host_silent(loop)) {
        sample->flags |= SUPERVISOR_HOST_STALE;
    }
    if (loop->modes.wiring == WIRING_MCU) {
        if (!loop->sensing.fresh) {
            sample->flags |= SUPERVISOR_SENSOR_HELD;
        }
        for (int i = 0; i < SIGNALS && loop->sensing.fresh; i++) {
            const float full = config->full_scale_counts[i];
            const float counts = (float)loop->sensing.counts[config->signal_channel[i]];
            loop->telemetry.signals[i] = full > 0.0f ? counts / full : 0.0f;
        }
        judge_sensor(loop);
    }
#if SIGNALS > 0
    for (int i = 0; i < SIGNALS; i++) {
        loop->mpc.signals[i] = normalised(loop->telemetry.signals[i], config->signal_offset[i],
                                          config->signal_scale[i]);
    }
#endif
    doubt_signals(loop, (sample->flags & SUPERVISOR_SENSOR_HELD) == 0u);
    if (loop->supervisor.state == STATE_ARMED) {
        loop->supervisor.state = STATE_RUNNING;
    }
}

/* What the signals tell of the outputs: how far the network is off. What the sensor has not brought
 * anew tells nothing. */
static void see_signals(control_loop_t *loop, bool fresh)
{
#if OBSERVER
    bool held[SIGNAL_SLOTS];
    memset(held, true, sizeof held);
    /* Where nothing is doubted, the doubt stays as it was reset: without any. */
    observer_step(&loop->config->observer, &loop->config->signal_model, &loop->observer,
                  fresh ? loop->doubt.doubted : held, loop->mpc.signals, loop->mpc.outputs[0],
                  loop->mpc.commands[INPUT_DELAY]);
#else
    (void)loop, (void)fresh;
#endif
}

/* What measured outputs tell: with `foreseen`, the outputs of the network as the signals have
 * corrected them, they are a pair that the map of the day is learned from. */
static void see_measured(control_loop_t *loop, const float foreseen[OUTPUTS])
{
    if (loop->modes.adapts) {
        adaptation_update(&loop->adaptation, foreseen, loop->outputs);
    }
    loop->unmeasured = 0;
}

static void see_nothing_measured(control_loop_t *loop)
{
    if (loop->modes.adapts) {
        adaptation_rest(&loop->adaptation);
    }
    loop->unmeasured = (uint16_t)(loop->unmeasured + (loop->unmeasured < UINT16_MAX));
}

/* What the map leaves over is an offset that follows measured outputs. It was true of a place where
 * the robot no longer is: without them it fades where something else goes on correcting. */
static void see_unexplained(control_loop_t *loop, const float expected[OUTPUTS])
{
    if (loop->unmeasured == 0u) {
        estimate_update(&loop->unexplained, loop->settings.disturbance_ratio, loop->outputs,
                        expected);
    } else if ((loop->modes.adapts || OBSERVER) && loop->unmeasured > FADE_AFTER) {
        estimate_fade(&loop->unexplained);
    }
}

/* How the robot's outputs follow from those that the network predicts. The network goes on
 * without it:
 *
 *     robot = map(network + error that the signals show) + unexplained
 *
 * of which the solver gets the tangent where the robot is: over its horizon of some tenths of a
 * second the map hardly bends. */
static void estimate(control_loop_t *loop, const sample_t *sample)
{
    const bool newest = loop->modes.clock == CLOCK_TIMER;
    const bool measured = loop->measured && (newest || loop->measured_k == sample->k);
    const float *const network = loop->mpc.outputs[0];
    const float *const error = loop->observer.error;
    mpc_config_t *mpc = &loop->mpc_config;
    float foreseen[OUTPUTS], added[OUTPUTS], expected[OUTPUTS];

    loop->measured = false;
    see_signals(loop, (sample->flags & SUPERVISOR_SENSOR_HELD) == 0u);
    for (int i = 0; i < OUTPUTS; i++) {
        foreseen[i] = network[i] + error[i];
    }
    if (measured) {
        see_measured(loop, foreseen);
    } else {
        see_nothing_measured(loop);
    }
    adaptation_linearise(&loop->adaptation, foreseen, added, mpc->output_gain);
    for (int i = 0; i < OUTPUTS; i++) {
        expected[i] = foreseen[i] + added[i];
    }
    see_unexplained(loop, expected);
    for (int i = 0; i < OUTPUTS; i++) {
        float offset = error[i] + added[i] + loop->unexplained.offset[i];
        for (int j = 0; j < OUTPUTS; j++) {
            offset = mac(-mpc->output_gain[i][j], network[j], offset);
        }
        mpc->output_offset[i] = offset;
        mpc->output_gain[i][i] += 1.0f;
    }
}

/* The reference over the horizon. */
static void reference(control_loop_t *loop, sample_t *sample)
{
    reference_advance(&loop->reference, sample->k);
    if (sample->observed != NULL || loop->modes.source != SOURCE_MPC) {
        return;
    }
    if (reference_horizon(&loop->reference, sample->reference) > 0u) {
        sample->flags |= SUPERVISOR_LOST_POINT;
    }
}

static uint32_t now(void *context)
{
    const board_t *board = context;
    return board_ticks(board);
}

/* The command: the solver's, the host's, the last one, or the one that is observed. The step cost
 * begins here. */
static void control(control_loop_t *loop, sample_t *sample)
{
    const units_t *units = &loop->config->units;
    const mpc_clock_t clock = {.now = now,
                               .context = loop->board,
                               .budget = STEP_BUDGET_US * board_ticks_per_us(loop->board)};
    const float *given = sample->observed != NULL              ? sample->observed
                         : loop->modes.source == SOURCE_HOST ? loop->drive
                         : loop->modes.source == SOURCE_HOLD ? loop->supervisor.command
                                                               : NULL;
    board_step_cost_begin(loop->board);
    if (given != NULL) {
        sample->status = MESSAGE_STATUS_NONE;
        memcpy(sample->command, given, sizeof sample->command);
        for (int i = 0; i < COMMANDS; i++) {
            sample->result.command[i] =
                normalised(given[i], units->command_offset[i], units->command_scale[i]);
        }
        return;
    }
    /* The cast only adds the const that C99 does not add to arrays of arrays. */
    sample->result = mpc_step(&loop->mpc_config, &loop->mpc,
                              (const float(*)[OUTPUTS])sample->reference, &clock);
    sample->status = sample->result.status;
    if (sample->status == MPC_NOT_FINITE) {
        sample->flags |= SUPERVISOR_NOT_FINITE;
    }
    for (int i = 0; i < COMMANDS; i++) {
        /* The solver keeps its bounds; if it did not, it would be seen. */
        const float asked = sample->result.command[i];
        if (asked < loop->mpc_config.command_min[i] || asked > loop->mpc_config.command_max[i]) {
            sample->flags |= SUPERVISOR_LIMITED;
        }
        sample->command[i] = settings_command(&loop->settings, units, i, asked);
    }
}

/* How much of a move the time since the last command allows, 0 .. 1. */
static float share_of_period(control_loop_t *loop)
{
    const uint32_t now_us = board_microseconds(loop->board);
    const uint32_t since_us = now_us - loop->gate_us;

    loop->gate_us = now_us;
    return loop->modes.clock == CLOCK_SAMPLES || since_us >= PERIOD_US
               ? 1.0f
               : (float)since_us / (float)PERIOD_US;
}

/* The last gate before the actuators; an observed command has passed one already, and where the
 * solver takes over again, it does so from there. */
static void supervise(control_loop_t *loop, sample_t *sample)
{
    const units_t *units = &loop->config->units;
    supervisor_t *supervisor = &loop->supervisor;

    supervisor_solver(supervisor, (sample->flags & SUPERVISOR_NOT_FINITE) != 0u);
    if (sample->observed != NULL) {
        (void)share_of_period(loop);
        supervisor_told(supervisor, &loop->config->limits, sample->command);
        return;
    }
    sample->flags |= loop->late ? SUPERVISOR_LATE : 0u;
    if (supervisor->state != STATE_RUNNING) {
        supervisor_safe(supervisor, &loop->config->limits, sample->command);
    }
    sample->flags = supervisor_gate(supervisor, &loop->settings, &loop->config->limits,
                                    share_of_period(loop), sample->command, sample->flags);
    /* Without an intervention the network goes on with the solver's own bits. */
    if (supervisor->state != STATE_RUNNING
        || (sample->flags & (SUPERVISOR_NOT_FINITE | SUPERVISOR_LIMITED)) != 0u) {
        for (int i = 0; i < COMMANDS; i++) {
            sample->result.command[i] = normalised(sample->command[i], units->command_offset[i],
                                                   units->command_scale[i]);
        }
    }
}

void loop_let_go(control_loop_t *loop)
{
    uint8_t bytes[ACTUATOR_BYTES_MAX];
    const size_t size = actuator_disarm(&loop->actuator, &loop->config->actuator, bytes);
    (void)board_write(loop->board, PORT_ACTUATOR, bytes, size);
    loop->supervisor.driving = false;
}

/* The bytes that tell the actuators. */
static void tell_actuators(control_loop_t *loop, const float command[COMMANDS])
{
    const actuator_config_t *config = &loop->config->actuator;
    const uint8_t state = loop->supervisor.state;

    if ((state == STATE_STOPPED || state == STATE_FAULT)
        && loop->config->limits.safe_output == SAFE_DISARM) {
        loop_let_go(loop);
    } else {
        uint8_t bytes[ACTUATOR_BYTES_MAX];
        const size_t size = actuator_drive(&loop->actuator, config, command, bytes);
        (void)board_write(loop->board, PORT_ACTUATOR, bytes, size);
    }
}

/* Where the actuators hang on the host, it applies the command that report sends. From here on it
 * counts as applied: the network predicts the next sample with it. The step cost ends here. */
static void actuate(control_loop_t *loop, sample_t *sample)
{
    if (loop->modes.wiring == WIRING_MCU) {
        tell_actuators(loop, sample->command);
        const uint32_t latency = board_microseconds(loop->board) - loop->sensing.at_us;
        sample->latency_us = (uint16_t)(latency < UINT16_MAX ? latency : UINT16_MAX);
    }
    mpc_advance(&loop->mpc, sample->result.command);
    sample->step_cost = board_step_cost_end(loop->board); /* 0 where nothing counts, as in sil */
    if (sample->step_cost > loop->counters.step_cost_max) {
        loop->counters.step_cost_max = sample->step_cost;
    }
    if (sample->status == MESSAGE_STATUS_NONE) {
        mpc_plan_anew(&loop->mpc); /* what the solver had planned was not done */
    }
    loop->next_k = sample->k + 1u;
}

/* TELEMETRY, in physical units: the answer to SAMPLE, or unasked. */
static void report(control_loop_t *loop, const sample_t *sample)
{
    const units_t *units = &loop->config->units;
    telemetry_t *telemetry = &loop->telemetry;
    float robot[OUTPUTS];

    telemetry->k = sample->k;
    telemetry->time_us = sample->time_us;
    telemetry->number = loop->counters.telemetry_sent;
    telemetry->state = loop->supervisor.state;
    telemetry->cause = loop->supervisor.cause;
    telemetry->flags = (uint16_t)sample->flags;
    telemetry->status = (uint8_t)sample->status;
    telemetry->iterations = sample->result.iterations;
    telemetry->latency_us = sample->latency_us;
    memcpy(telemetry->command, sample->command, sizeof telemetry->command);
    robot_output(&loop->mpc_config, loop->mpc.outputs[0], robot);
    for (int i = 0; i < OUTPUTS; i++) {
        const float scale = units->output_scale[i];
        telemetry->predicted[i] = physical(robot[i], units->output_offset[i], scale);
        telemetry->reference[i] =
            physical(loop->reference.before[i], units->output_offset[i], scale);
        telemetry->offset[i] = (robot[i] - loop->mpc.outputs[0][i]) * scale;
        telemetry->uncertainty[i] = scale * sqrtf(loop->observer.covariance[i][i]);
    }
    telemetry->cost = sample->result.cost;
    telemetry->step_cost = sample->step_cost;
    telemetry->missed_samples = loop->counters.missed_samples;
    telemetry->telemetry_lost = loop->counters.telemetry_lost;
    telemetry->actuator_errors = loop->status.errors;
    telemetry->voltage = loop->status.voltage;
    telemetry->temperature = loop->status.temperature;
    telemetry->doubted = 0u; /* of the first 32, should a robot have more */
    for (int i = 0; i < SIGNALS && i < 32; i++) {
        telemetry->doubted |= (uint32_t)loop->doubt.doubted[i] << i;
    }
    loop->answered = true;
    if (loop->modes.wiring == WIRING_MCU && sample->k % TELEMETRY_EVERY != 0u) {
        return;
    }
    if (loop_send(loop, TO_HOST_TELEMETRY, telemetry)) {
        loop->counters.telemetry_sent++;
    } else {
        loop->counters.telemetry_dropped++;
    }
}

/* One sample goes round once. */
void loop_sample(control_loop_t *loop, uint32_t k, const float *observed)
{
    sample_t sample = {.k = k, .observed = observed};

    acquire(loop, &sample);
    estimate(loop, &sample);
    reference(loop, &sample);
    control(loop, &sample);
    supervise(loop, &sample);
    actuate(loop, &sample);
    report(loop, &sample);
}

/* ------------------------------------------------------------------ what makes a sample */

static void take_host(control_loop_t *loop)
{
    uint8_t byte;
    for (uint32_t left = PORT_BYTES_MAX;
         left > 0u && board_read_byte(loop->board, PORT_HOST, &byte); left--) {
        const size_t size = frame_decode(&loop->decoder, byte);
        if (size > 0u) {
            loop->host_seen_us = loop_time(loop);
            loop->host_gone = false;
            const message_error_t error = loop_answer(loop, loop->decoder.body, size);
            if (error != MESSAGE_OK) {
                const error_t refusal = {.code = (uint8_t)error, .type = loop->decoder.body[0]};
                (void)loop_send(loop, TO_HOST_ERROR, &refusal);
            }
        }
    }
}

static cause_t actuator_fault(const limits_t *limits, const actuator_status_t *status)
{
    return (status->errors & limits->actuator_errors) != 0u ? CAUSE_ACTUATOR_ERROR
           : status->voltage > 0.0f && !(status->voltage >= limits->voltage_min
                                         && status->voltage <= limits->voltage_max)
               ? CAUSE_ACTUATOR_VOLTAGE
           : status->temperature > limits->temperature_max ? CAUSE_ACTUATOR_TEMPERATURE
                                                           : CAUSE_NONE;
}

static void take_actuator(control_loop_t *loop)
{
    const limits_t *limits = &loop->config->limits;
    uint8_t byte;
    for (uint32_t left = PORT_BYTES_MAX;
         left > 0u && board_read_byte(loop->board, PORT_ACTUATOR, &byte); left--) {
        if (actuator_decode(&loop->actuator, &loop->config->actuator, byte, &loop->status)) {
            const cause_t fault = actuator_fault(limits, &loop->status);
            loop->unanswered = 0;
            if (fault != CAUSE_NONE && supervisor_active(&loop->supervisor)) {
                supervisor_enter(&loop->supervisor, STATE_FAULT, fault);
            }
        }
    }
}

/* True: a sample of the sensor has come, good or not. */
static bool take_sensor(control_loop_t *loop)
{
    const controller_config_t *config = loop->config;
    uint8_t byte;
    for (uint32_t left = PORT_BYTES_MAX;
         left > 0u && board_read_byte(loop->board, PORT_SENSOR, &byte); left--) {
        if (sensing_take(&loop->sensing, &loop->sensor, &config->sensor, &config->limits, byte,
                         board_microseconds(loop->board))) {
            return true;
        }
    }
    return false;
}

/* Its newest sample counts, or none where nothing runs. */
static void take_all_of_sensor(control_loop_t *loop)
{
    for (uint32_t left = PORT_BYTES_MAX; left > 0u && take_sensor(loop); left--) {
    }
}

/* Have the parts of sample k that the host brings come, or is it of no use to wait for them? */
static bool host_ready(const control_loop_t *loop, uint32_t k)
{
    const bool tethered = k - loop->first_k < loop->tethered_samples;
    const bool measured = !tethered || (loop->measured && loop->measured_k == k);
    const bool driven =
        source_of(loop, k) != SOURCE_HOST || (loop->driven && loop->driven_k == k);
    return (measured && driven) || loop->waiting > GAP_MAX || host_silent(loop)
           || loop->supervisor.state == STATE_HOLDING;
}

/* A run does not begin before the sensor has shown that it is there, not even one that holds
 * because the host has gone meanwhile. */
static bool may_begin(control_loop_t *loop)
{
    if (SIGNALS == 0 || loop->sensing.any) {
        return true;
    }
    judge_sensor(loop);
    return false;
}

static void count_unanswered(control_loop_t *loop)
{
    const uint16_t tolerated = loop->config->limits.actuator_samples;
    loop->unanswered = (uint16_t)(loop->unanswered + (loop->unanswered < UINT16_MAX));
    if (tolerated > 0u && loop->unanswered > tolerated) {
        supervisor_enter(&loop->supervisor, STATE_FAULT, CAUSE_ACTUATOR_SILENT);
    }
}

/* Samples of the sensor are the clock. One waits for what the host has to say to it until the next
 * one comes: then it counts as missed. */
static void follow_sensor(control_loop_t *loop)
{
    uint32_t left = PORT_BYTES_MAX; /* used up by samples of one byte only */
    bool came;
    do {
        left--;
        came = take_sensor(loop);
        if (came && may_begin(loop)) {
            loop->waiting++;
        }
        const uint32_t k = loop_next(loop);
        if (loop->waiting > 0u && host_ready(loop, k)) {
            loop->waiting = 0;
            loop_sample(loop, k, NULL);
            loop->driven = loop->driven && loop->modes.source != SOURCE_HOST;
            count_unanswered(loop);
        }
    } while (came && left > 0u && supervisor_active(&loop->supervisor));
}

/* How long before or behind the time of a control period its sample of the sensor is taken, where
 * samples come about as often as periods, a quarter more or less: the sensor then says the phase,
 * and a sample that is late is waited for until the next one is nearer. Of others, or of none, the
 * newest one counts when the time has come. */
static int32_t window_us(const sensing_t *sensing)
{
    const uint32_t about = PERIOD_US / 4u;
    const uint32_t least = PERIOD_US - about;
    return sensing->interval_us - least <= 2u * about ? (int32_t)(PERIOD_US / 2u) : 0;
}

/* The time of the next control period. Of whole microseconds alone a day at 120 Hz would lose
 * 3.5 s. */
static void next_period(control_loop_t *loop, uint32_t from_us)
{
    const uint32_t rate_mhz = (uint32_t)(1000.0f * CONTROL_RATE_HZ + 0.5f);

    loop->due_us = from_us + 1000000000u / rate_mhz;
    loop->due_rest += 1000000000u % rate_mhz;
    if (loop->due_rest >= rate_mhz) {
        loop->due_rest -= rate_mhz;
        loop->due_us++;
    }
}

/* The board's timer is the clock, in step with the sensor where that can be. */
static void follow_timer(control_loop_t *loop)
{
    take_all_of_sensor(loop);
    const bool came = loop->sensing.fresh || loop->sensing.fault != CAUSE_NONE;
    const uint32_t now_us = board_microseconds(loop->board);
    const int32_t window = window_us(&loop->sensing);
    const int32_t behind = (int32_t)(now_us - loop->due_us);
    if (behind < (came ? -window : window)) {
        return;
    }
    if (!may_begin(loop)) {
        loop->due_us = now_us + PERIOD_US;
        return;
    }
    const uint32_t missed = behind > 0 ? (uint32_t)behind / PERIOD_US : 0u;
    const uint32_t k = loop->next_k + (missed < GAP_MAX ? missed : GAP_MAX);
    const bool anew = missed > 0u || (came && window > 0);
    next_period(loop, anew ? now_us : loop->due_us);
    loop_sample(loop, k, NULL);
    loop->late = (int32_t)(board_microseconds(loop->board) - loop->due_us) > 0;
    supervisor_deadline(&loop->supervisor, loop->late);
    count_unanswered(loop);
}

/* ------------------------------------------------------------------ what the time brings */

static void watch_silences(control_loop_t *loop)
{
    const uint32_t now_us = board_microseconds(loop->board);

    if (loop->modes.wiring == WIRING_MCU
        && passed(loop->sensing.at_us, now_us, loop->times.sensor_timeout_ms)) {
        supervisor_enter(&loop->supervisor, STATE_STOPPED, CAUSE_SENSOR_SILENT);
    }
    loop->host_gone = host_silent(loop);
    if (loop->host_gone) {
        if (loop->modes.host_lost == HOST_LOST_STOP) {
            supervisor_enter(&loop->supervisor, STATE_STOPPED, CAUSE_HOST_LOST);
        } else if (loop->modes.host_lost == HOST_LOST_HOLD) {
            supervisor_enter(&loop->supervisor, STATE_HOLDING, CAUSE_HOST_LOST);
        }
    }
}

/* Stopped and fault have a control period of their own: there may be nothing else that ticks. What
 * nobody has driven yet is left where it is. */
static void drive_safe(control_loop_t *loop)
{
    const uint32_t now_us = board_microseconds(loop->board);
    const bool entered = loop->safe_state != loop->supervisor.state;
    const bool drives = loop->supervisor.driving
                        || loop->config->limits.safe_output == SAFE_DISARM;
    sample_t sample = {.k = loop->next_k, .time_us = now_us, .status = MESSAGE_STATUS_NONE};

    loop->safe_state = loop->supervisor.state;
    take_all_of_sensor(loop);
    if (!entered && now_us - loop->gate_us < PERIOD_US) {
        return;
    }
    supervisor_safe(&loop->supervisor, &loop->config->limits, sample.command);
    if (drives) {
        sample.flags = supervisor_gate(&loop->supervisor, &loop->settings, &loop->config->limits,
                                       entered ? 0.0f : 1.0f, sample.command, 0u);
        tell_actuators(loop, sample.command);
    }
    loop->gate_us = now_us;
    loop->next_k++;
    report(loop, &sample);
}

void control_loop_poll(control_loop_t *loop)
{
    const uint8_t *state = &loop->supervisor.state;

    take_host(loop);
    take_actuator(loop);
    if (supervisor_active(&loop->supervisor)) {
        watch_silences(loop);
    }
    if (loop->modes.wiring != WIRING_MCU || *state == STATE_IDLE) {
        take_all_of_sensor(loop);
    } else if (supervisor_active(&loop->supervisor)) {
        if (loop->modes.clock == CLOCK_SAMPLES) {
            follow_sensor(loop);
        } else {
            follow_timer(loop);
        }
    }
    if (loop->modes.wiring == WIRING_MCU && (*state == STATE_STOPPED || *state == STATE_FAULT)) {
        drive_safe(loop);
    }
}

/* What a fault handler shall write to the actuators: it can encode nothing any more. */
static size_t prepare_safe_bytes(control_loop_t *loop)
{
    const limits_t *limits = &loop->config->limits;
    const actuator_config_t *config = &loop->config->actuator;
    actuator_t actuator = {0}; /* as if nothing had been told yet, so that all is said */
    const size_t size =
        limits->safe_output == SAFE_DISARM
            ? actuator_disarm(&actuator, config, loop->safe_bytes)
        : limits->safe_output == SAFE_NEUTRAL
            ? actuator_drive(&actuator, config, limits->neutral, loop->safe_bytes)
            : 0u;
    board_safe_bytes(loop->board, loop->safe_bytes, size);
    return size;
}

/* Goes on with what an earlier run has kept, if it is valid. */
static void take_kept(control_loop_t *loop)
{
    settings_t settings;
    output_map_t map;
    const uint32_t number = kept_read(loop->board, &settings, &map);

    if (number != 0u && settings_valid(&settings, &loop->config->settings)
        && adaptation_set(&loop->adaptation, &map)) {
        loop_configure(loop, &settings);
        loop->kept_number = number;
    }
}

/* Is this the image that was built, on the board that it was built for? */
static image_fault_t image_check_here(const board_t *board)
{
    size_t size_max;
    const uint8_t *image = board_image(board, &size_max);
    return image_check(image, size_max, board_image_name(board));
}

void control_loop_start(control_loop_t *loop, board_t *board, const controller_config_t *config)
{
    memset(loop, 0, sizeof *loop);
    loop->board = board;
    loop->config = config;
    loop_configure(loop, &config->settings);
    adaptation_start(&loop->adaptation);
    loop->image = (uint8_t)image_check_here(board);
    loop->supervisor.state = STATE_IDLE;
    const boot_t boot = {.version = PROTOCOL_VERSION,
                         .reset_cause = (uint8_t)board_reset_cause(board),
                         .board = board_name(board)};
    (void)loop_send(loop, TO_HOST_BOOT, &boot);
    const size_t size = prepare_safe_bytes(loop);
    if (loop->image != IMAGE_GOOD) {
        (void)board_write(board, PORT_ACTUATOR, loop->safe_bytes, size);
        loop->supervisor.state = STATE_FAULT;
        loop->supervisor.cause = loop->image == IMAGE_DAMAGED ? CAUSE_IMAGE_DAMAGED
                                                              : CAUSE_IMAGE_OF_OTHER_BOARD;
        return;
    }
    take_kept(loop);
    if (board_crash(board) != NULL) {
        /* A watchdog may have ended the run without them. */
        (void)board_write(board, PORT_ACTUATOR, loop->safe_bytes, size);
        loop->supervisor.state = STATE_FAULT;
        loop->supervisor.cause = CAUSE_CRASHED;
    }
}
