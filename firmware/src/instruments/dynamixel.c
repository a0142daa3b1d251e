#include "instruments/dynamixel.h"

#include <string.h>

#include "solver/loop_bound.h"
#include "solver/number.h"

enum { BROADCAST = 0xFE };
enum { READ_DATA = 0x02, SYNC_WRITE = 0x83 };
enum { TORQUE_ENABLE = 24, GOAL_POSITION = 30, PRESENT_POSITION = 36 };
enum { PRESENT_BYTES = 8 };
enum { HEADER_BYTES = 5 }; /* FF FF id length instruction */

/* A packet around `count` parameters, which are in their place already. */
static size_t packet(uint8_t id, uint8_t instruction, size_t count, uint8_t *out)
{
    const uint8_t header[HEADER_BYTES] = {0xFF, 0xFF, id, (uint8_t)(count + 2u), instruction};
    uint32_t sum = 0;

    memcpy(out, header, sizeof header);
    for (size_t i = 2; i < HEADER_BYTES + count; i++) {
        sum += out[i];
    }
    out[HEADER_BYTES + count] = (uint8_t)~sum;
    return HEADER_BYTES + count + 1u;
}

static size_t torque(const dynamixel_config_t *config, uint8_t enable, uint8_t *out)
{
    uint8_t *to = out + HEADER_BYTES;
    *to++ = TORQUE_ENABLE;
    *to++ = 1; /* byte of each */
    for (int i = 0; i < COMMANDS; i++) {
        *to++ = config->id[i];
        *to++ = enable;
    }
    return packet(BROADCAST, SYNC_WRITE, (size_t)(to - out) - HEADER_BYTES, out);
}

/* To the nearest count, halves upwards, within the limits; NaN becomes the lower one. */
static uint16_t goal(const dynamixel_config_t *config, int servo, float command)
{
    const float low = config->count_min[servo];
    const float high = config->count_max[servo];
    const float exact = config->zero_count[servo] + command * config->counts_per_unit[servo];
    const float up = exact + 0.5f; /* never negative below: to cut the fraction off rounds down */
    return (uint16_t)(up >= low ? smaller(up, high) : low);
}

static size_t goals(const dynamixel_config_t *config, const float command[COMMANDS], uint8_t *out)
{
    uint8_t *to = out + HEADER_BYTES;
    *to++ = GOAL_POSITION;
    *to++ = 4; /* bytes of each: position and speed */
    for (int i = 0; i < COMMANDS; i++) {
        const uint16_t count = goal(config, i, command[i]);
        const uint16_t speed = config->speed[i];
        const uint8_t servo[5] = {config->id[i], (uint8_t)(count & 0xFFu), (uint8_t)(count >> 8),
                                  (uint8_t)(speed & 0xFFu), (uint8_t)(speed >> 8)};
        memcpy(to, servo, sizeof servo);
        to += sizeof servo;
    }
    return packet(BROADCAST, SYNC_WRITE, (size_t)(to - out) - HEADER_BYTES, out);
}

/* Asks the next servo in turn. */
static size_t question(dynamixel_t *servos, const dynamixel_config_t *config, uint8_t *out)
{
    servos->unanswered += servos->waiting;
    servos->asked = (uint8_t)((servos->asked + 1u) % COMMANDS);
    servos->waiting = true;
    out[HEADER_BYTES] = PRESENT_POSITION;
    out[HEADER_BYTES + 1] = PRESENT_BYTES;
    return packet(config->id[servos->asked], READ_DATA, 2u, out);
}

size_t dynamixel_drive(dynamixel_t *servos, const dynamixel_config_t *config,
                       const float command[COMMANDS], uint8_t out[ACTUATOR_BYTES_MAX])
{
    size_t size = 0;
    if (!servos->torque) {
        servos->torque = true;
        size += torque(config, 1, out);
    }
    size += goals(config, command, out + size);
    return size + question(servos, config, out + size);
}

size_t dynamixel_disarm(dynamixel_t *servos, const dynamixel_config_t *config,
                        uint8_t out[ACTUATOR_BYTES_MAX])
{
    servos->torque = false;
    const size_t size = torque(config, 0, out);
    return size + question(servos, config, out + size);
}

static void drop(dynamixel_t *servos, size_t count)
{
    servos->size = (uint8_t)(servos->size - count);
    memmove(servos->packet, &servos->packet[count], servos->size);
}

/* Drops the first bytes up to the next that may begin a packet. */
static void resynchronise(dynamixel_t *servos)
{
    uint8_t from = 1;
    while (from < servos->size
           && !(servos->packet[from] == 0xFFu
                && (from + 1 == servos->size || servos->packet[from + 1] == 0xFFu))) {
        LOOP_BOUND(sizeof servos->packet);
        from++;
    }
    drop(servos, from);
}

/* Can the bytes so far, one or more, be the beginning of a packet? An id is never FF: of three the
 * first is no part of it. */
static bool may_begin(const dynamixel_t *servos)
{
    const uint8_t *p = servos->packet;
    const uint8_t size = servos->size;
    return p[0] == 0xFFu && (size < 2u || p[1] == 0xFFu)
           && (size < 3u || p[2] != 0xFFu)
           && (size < 4u || (p[3] >= 2u && p[3] <= DYNAMIXEL_PARAMETERS_MAX + 2u));
}

static bool checksum_right(const dynamixel_t *servos, size_t whole)
{
    uint32_t sum = 0;
    for (size_t i = 2; i < whole; i++) {
        LOOP_BOUND(sizeof servos->packet);
        sum += servos->packet[i];
    }
    return (sum & 0xFFu) == 0xFFu;
}

static bool understand(dynamixel_t *servos, const dynamixel_config_t *config,
                       actuator_status_t *status)
{
    const uint8_t *p = servos->packet;
    const uint8_t asked = servos->asked;
    /* An answer has what was asked for, or the errors alone; a line of one wire brings back the
     * question too, which is of neither length. */
    const bool whole = p[3] == PRESENT_BYTES + 2;
    if (!servos->waiting || p[2] != config->id[asked] || !(whole || p[3] == 2u)) {
        return false; /* of nobody who was asked */
    }
    servos->waiting = false;
    status->index = asked;
    status->errors = p[4];
    status->answers++;
    if (whole) {
        const uint8_t *r = p + HEADER_BYTES;
        const float position = (float)(r[0] | (r[1] & 0x03) << 8);
        const float load = (float)(r[4] | (r[5] & 0x03) << 8) / 1023.0f;
        status->position = (position - config->zero_count[asked]) / config->counts_per_unit[asked];
        status->load = (r[5] & 0x04) != 0 ? -load : load;
        status->voltage = (float)r[6] * 0.1f;
        status->temperature = (float)r[7];
    }
    return true;
}

bool dynamixel_decode(dynamixel_t *servos, const dynamixel_config_t *config, uint8_t byte,
                      actuator_status_t *status)
{
    bool answered = false;

    servos->packet[servos->size++] = byte;
    while (servos->size > 0u) {
        LOOP_BOUND(sizeof servos->packet); /* each turn but the last drops a byte */
        if (!may_begin(servos)) {
            resynchronise(servos);
        } else if (servos->size >= 4u && servos->size >= servos->packet[3] + 4u) {
            /* Of a damaged packet's bytes, a shorter one and more may be left. */
            const size_t whole = servos->packet[3] + 4u;
            if (checksum_right(servos, whole)) {
                answered = understand(servos, config, status) || answered;
                drop(servos, whole);
            } else {
                status->bad++;
                resynchronise(servos);
            }
        } else {
            break;
        }
    }
    return answered;
}
