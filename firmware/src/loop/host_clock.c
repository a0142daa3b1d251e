#include "loop/host_clock.h"

#define DRIFT 50u        /* one part in so many, */
#define GROWN_MAX_US 500u /* and no more between two messages */

void host_clock_start(host_clock_t *clock, uint32_t now_us, uint32_t host_us)
{
    clock->least = now_us - host_us;
    clock->seen = now_us;
}

uint32_t host_clock_age(host_clock_t *clock, uint32_t now_us, uint32_t host_us)
{
    const uint32_t difference = now_us - host_us;
    const uint32_t drifted = (now_us - clock->seen) / DRIFT;
    const uint32_t grown = drifted < GROWN_MAX_US ? drifted : GROWN_MAX_US;
    const int32_t above = (int32_t)(difference - clock->least - grown);

    clock->seen = now_us;
    clock->least = above > 0 ? clock->least + grown : difference;
    return above > 0 ? (uint32_t)above : 0u;
}
