/* What `softctl prove` cannot find in the machine code: how often a loop turns whose end depends on
 * data. As the first statement in the loop's body, on the line of its head or the one after it:
 *
 *     while (loop->next_k != sample->k) {
 *         LOOP_BOUND(GAP_MAX);
 *
 * A loop that turns more often after a gap in the samples than in others says both: the longest
 * sample of all has the most of them, the control period has to suffice for the others.
 *
 * It leaves a line in a section of the ELF that is not loaded, and no instruction. That it is true
 * is for the writer to see to: say next to it, or where the bound is defined, who keeps it. */
#ifndef LOOP_BOUND_H
#define LOOP_BOUND_H

#include <stdint.h>

#if defined(__arm__) && defined(__GNUC__)
#define LOOP_BOUND(turns) LOOP_BOUND_AT(turns, turns, __LINE__)
#define LOOP_BOUND_AFTER_GAP(turns, without) LOOP_BOUND_AT(turns, without, __LINE__)
#define LOOP_BOUND_AT(turns, without, line) LOOP_BOUND_NOTE(turns, without, line)
#define LOOP_BOUND_NOTE(turns, without, line)                                                   \
    static const struct {                                                                       \
        uint32_t at, most, without_gap;                                                         \
        char file[(sizeof __FILE__ + 3u) / 4u * 4u];                                            \
    } loop_bound_##line __attribute__((section(".loop_bounds"), used)) = {line, (turns),        \
                                                                          (without), __FILE__}
#else
#define LOOP_BOUND(turns) (void)0
#define LOOP_BOUND_AFTER_GAP(turns, without) (void)0
#endif

#endif
