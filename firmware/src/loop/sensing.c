#include "loop/sensing.h"

#include <string.h>

#include "solver/loop_bound.h"

void sensing_start(sensing_t *sensing, uint32_t now_us)
{
    sensing->any = false;
    sensing->fresh = false;
    sensing->fault = CAUSE_NONE;
    sensing->equal = 0;
    sensing->at_us = now_us;
    sensing->came_us = now_us;
    sensing->interval_us = 0;
}

static cause_t plausible(sensing_t *sensing, const limits_t *limits,
                         const int32_t counts[SENSOR_SLOTS])
{
    cause_t fault = CAUSE_NONE;
    bool equal = sensing->any && SENSOR_CHANNELS > 0;

    for (int i = 0; i < SENSOR_CHANNELS; i++) {
        LOOP_BOUND(SENSOR_SLOTS);
        /* Differences of counts may need 33 bits. */
        const int64_t step = (int64_t)counts[i] - sensing->counts[i];
        if (counts[i] < limits->count_min || counts[i] > limits->count_max) {
            return CAUSE_SENSOR_RANGE;
        }
        if (sensing->any && limits->count_step_max > 0
            && (step > limits->count_step_max || step < -(int64_t)limits->count_step_max)) {
            fault = CAUSE_SENSOR_RATE;
        }
        equal = equal && step == 0;
    }
    sensing->equal = (uint16_t)(equal ? sensing->equal + (sensing->equal < UINT16_MAX) : 0);
    if (limits->frozen_samples > 0u && sensing->equal > limits->frozen_samples) {
        return CAUSE_SENSOR_FROZEN;
    }
    return fault;
}

/* A running mean; a gap counts as one sample that did not come. */
static void see_interval(sensing_t *sensing, uint32_t now_us)
{
    const uint32_t passed = now_us - sensing->came_us;
    const uint32_t interval = passed < 2u * PERIOD_US ? passed : 2u * PERIOD_US;
    const uint32_t mean = sensing->interval_us;

    sensing->interval_us = mean == 0u ? interval : mean - mean / 8u + interval / 8u;
    sensing->came_us = now_us;
}

bool sensing_take(sensing_t *sensing, sensor_t *sensor, const sensor_config_t *config,
                  const limits_t *limits, uint8_t byte, uint32_t now_us)
{
    int32_t counts[SENSOR_SLOTS];
    const bool whole = sensor_decode(sensor, config, byte, counts);

    if (whole || sensor->dropped != sensing->dropped) {
        see_interval(sensing, now_us);
    }
    if (whole) {
        sensing->fault = (uint8_t)plausible(sensing, limits, counts);
        if (sensing->fault == CAUSE_NONE) {
            memcpy(sensing->counts, counts, sizeof sensing->counts);
            sensing->any = true;
            sensing->fresh = true;
            sensing->at_us = now_us;
        } else {
            sensing->implausible++;
        }
        return true;
    }
    if (sensor->dropped != sensing->dropped) {
        sensing->dropped = sensor->dropped;
        sensing->fault = CAUSE_SENSOR_DAMAGED;
        return true;
    }
    return false;
}
