/* How old a message of the host is, though the two clocks share neither zero nor rate.
 *
 * A message says when it was sent by the host's clock. The least difference of the two clocks that
 * was seen belongs to the freshest message; what another one shows above it is its age. Clocks that
 * run apart by up to 2 % (the board's own oscillator is 1 % off) are followed: by so much of the
 * time between two messages the least difference may have grown.
 *
 *     sent by host's clock    came by ours    difference    age
 *          1000 us               5300            4300        0
 *          9333                 13633            4300        0
 *         17666                 24966            7300     2833: 3000 less 2 % of the time between
 *
 * A host that was stopped for three seconds, and then sends what it had in its queue, is seen to be
 * three seconds late, less half a millisecond: after a silence drift counts as age, and messages
 * may be refused until they have come for long enough to follow it. Safe first. */
#ifndef HOST_CLOCK_H
#define HOST_CLOCK_H

#include <stdint.h>

typedef struct {
    uint32_t least; /* difference, us */
    uint32_t seen;  /* by our clock, us, of the last message */
} host_clock_t;

/* The first message of a run counts as fresh. */
void host_clock_start(host_clock_t *clock, uint32_t now_us, uint32_t host_us);

/* Age of a message that was sent at host_us and has come now, us. */
uint32_t host_clock_age(host_clock_t *clock, uint32_t now_us, uint32_t host_us);

#endif
