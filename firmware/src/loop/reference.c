#include "loop/reference.h"

#include <string.h>

#include "solver/loop_bound.h"
#include "solver/number.h"

static bool is_known(const reference_t *reference, uint32_t slot)
{
    return (reference->known[slot / 8u] >> (slot % 8u) & 1u) != 0u;
}

static void set_known(reference_t *reference, uint32_t slot, bool known)
{
    const uint8_t bit = (uint8_t)(1u << (slot % 8u));
    uint8_t *byte = &reference->known[slot / 8u];
    *byte = (uint8_t)(known ? *byte | bit : *byte & ~bit);
}

void reference_reset(reference_t *reference, uint32_t k, const float point[OUTPUTS])
{
    if (reference->count == 0u) {
        memset(reference->known, 0, sizeof reference->known);
    }
    memset(reference->met, 0, sizeof reference->met);
    memcpy(reference->before, point, sizeof reference->before);
    reference->start = k;
    reference->now = k;
    reference->lost = 0;
}

void reference_put(reference_t *reference, uint32_t k, const float point[OUTPUTS])
{
    if (reference->count == 0u && k - reference->now < REFERENCE_POINTS
        && all_finite(point, OUTPUTS)) {
        const uint32_t slot = k % REFERENCE_POINTS;
        memcpy(reference->points[slot], point, sizeof reference->points[slot]);
        set_known(reference, slot, true);
    }
}

/* Where a trajectory is at sample k, without the blend. */
static void on_trajectory(const reference_t *reference, uint32_t k, float point[OUTPUTS])
{
    const uint64_t way = (uint64_t)(k - reference->start) * reference->step;
    const uint32_t last = reference->count - 1u;
    const bool ended = !reference->periodic && way >> 32 != 0u;
    /* Between the last point and the first lies one more piece of a periodic trajectory. */
    const uint32_t pieces = reference->periodic ? reference->count : last;
    const uint64_t at = (uint64_t)(uint32_t)way * pieces;
    const uint32_t index = ended ? last : (uint32_t)(at >> 32);
    const uint32_t next = index < last ? index + 1u : reference->periodic ? 0u : last;
    const float share = ended ? 0.0f : (float)((uint32_t)at >> 8) * 0x1p-24f;

    for (int i = 0; i < OUTPUTS; i++) {
        const float from = reference->points[index][i];
        point[i] = mac(share, reference->points[next][i] - from, from);
    }
}

/* One sample further from `point` towards the trajectory at sample k. */
static void towards(const reference_t *reference, uint32_t k, bool met[OUTPUTS],
                    float point[OUTPUTS])
{
    float there[OUTPUTS];
    on_trajectory(reference, k, there);
    for (int i = 0; i < OUTPUTS; i++) {
        const float blend = reference->blend[i];
        const float way = there[i] - point[i];
        met[i] = met[i] || (way <= blend && way >= -blend);
        point[i] = met[i] ? there[i] : point[i] + clamp(way, -blend, blend);
    }
}

void reference_advance(reference_t *reference, uint32_t k)
{
    if (reference->count > 0u) {
        /* However long a gap, the blend moves on by one sample: it is the slower one. */
        towards(reference, k, reference->met, reference->before);
        reference->now = k;
        return;
    }
    for (; reference->now != k; reference->now++) {
        LOOP_BOUND_AFTER_GAP(GAP_MAX + 1u, 1u);
        const uint32_t slot = reference->now % REFERENCE_POINTS;
        if (is_known(reference, slot)) {
            memcpy(reference->before, reference->points[slot], sizeof reference->before);
            set_known(reference, slot, false);
        }
    }
    const uint32_t slot = k % REFERENCE_POINTS;
    if (is_known(reference, slot)) {
        memcpy(reference->before, reference->points[slot], sizeof reference->before);
    }
}

uint32_t reference_horizon(reference_t *reference, float horizon[HORIZON][OUTPUTS])
{
    const uint32_t lost = reference->lost;
    float point[OUTPUTS];
    bool met[OUTPUTS];

    memcpy(point, reference->before, sizeof point);
    memcpy(met, reference->met, sizeof met);
    for (int j = 0; j < HORIZON; j++) {
        const uint32_t k = reference->now + 1u + (uint32_t)j;
        if (reference->count > 0u) {
            towards(reference, k, met, point);
        } else if (is_known(reference, k % REFERENCE_POINTS)) {
            memcpy(point, reference->points[k % REFERENCE_POINTS], sizeof point);
        } else {
            reference_put(reference, k, point); /* kept, so that it counts as lost only once */
            reference->lost++;
        }
        memcpy(horizon[j], point, sizeof point);
    }
    return reference->lost - lost;
}

bool reference_ahead(const reference_t *reference)
{
    return reference->count > 0u || is_known(reference, (reference->now + 1u) % REFERENCE_POINTS);
}

uint32_t reference_end(const reference_t *reference)
{
    uint32_t k = reference->now;
    while (k - reference->now < REFERENCE_POINTS && is_known(reference, k % REFERENCE_POINTS)) {
        k++;
    }
    return k;
}

bool reference_upload(reference_t *reference, uint32_t first, uint32_t count,
                      const float points[][OUTPUTS])
{
    if (first > REFERENCE_POINTS || count > REFERENCE_POINTS - first) {
        return false;
    }
    if (first == 0u) {
        memset(reference->known, 0, sizeof reference->known);
    }
    reference->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!all_finite(points[i], OUTPUTS)) {
            return false;
        }
        memcpy(reference->points[first + i], points[i], sizeof reference->points[0]);
        set_known(reference, first + i, true);
    }
    return true;
}

bool reference_follow(reference_t *reference, uint32_t count, bool periodic, uint32_t step,
                      const float blend[OUTPUTS])
{
    bool valid = count == 0u || (count >= 2u && count <= REFERENCE_POINTS && step > 0u);
    for (uint32_t i = 0; valid && i < count; i++) {
        valid = is_known(reference, i);
    }
    for (int i = 0; i < OUTPUTS; i++) {
        valid = valid && blend[i] >= 0.0f;
    }
    if (!valid) {
        return false;
    }
    reference->count = (uint16_t)count;
    reference->periodic = periodic;
    reference->step = step;
    memcpy(reference->blend, blend, sizeof reference->blend);
    return true;
}
