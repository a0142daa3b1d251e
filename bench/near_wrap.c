/* The firmware for the host whose counters can be set to just before 2^32. */
#include "boards/host/sil.c"

void sil_near_wrap(sil_t *sil, uint32_t left);

/* All that counts samples, messages, lines or answers wraps after `left` more of them. */
void sil_near_wrap(sil_t *sil, uint32_t left)
{
    control_loop_t *loop = &sil->loop;
    const uint32_t before = 0u - left;

    loop->counters.telemetry_sent = before;
    loop->counters.telemetry_dropped = before;
    loop->counters.missed_samples = before;
    loop->counters.refused = before;
    loop->decoder.bad_frames = before;
    loop->sensor.samples = before;
    loop->sensor.dropped = before;
    loop->sensing.dropped = before; /* the same, or a line would count as damaged */
    loop->status.answers = before;
    loop->status.bad = before;
}
