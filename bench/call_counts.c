/* Counts calls of the firmware's functions on the host, which gcc's -finstrument-functions tells of,
 * those that are inlined too. */
#include <stddef.h>
#include <stdint.h>

#define PLACES 4096u /* a power of two, more than there are functions */
#define QUIET __attribute__((no_instrument_function))

static struct {
    void *function;
    uint32_t calls, most;
} places[PLACES];

void __cyg_profile_func_enter(void *function, void *caller) QUIET;
void __cyg_profile_func_exit(void *function, void *caller) QUIET;
void counts_within(void *function) QUIET;
uint32_t counts_most(void *function) QUIET;

static void *within;

QUIET static size_t place_of(const void *function)
{
    size_t place = ((uintptr_t)function >> 4) & (PLACES - 1u);
    while (places[place].function != NULL && places[place].function != function) {
        place = (place + 1u) & (PLACES - 1u);
    }
    return place;
}

/* Calls count from when this function is called until it returns, each time anew. */
void counts_within(void *function)
{
    within = function;
}

void __cyg_profile_func_enter(void *function, void *caller)
{
    (void)caller;
    if (function == within) {
        for (size_t i = 0; i < PLACES; i++) {
            places[i].calls = 0u;
        }
    }
    const size_t place = place_of(function);
    places[place].function = function;
    places[place].calls++;
}

void __cyg_profile_func_exit(void *function, void *caller)
{
    (void)caller;
    for (size_t i = 0; i < PLACES && function == within; i++) {
        if (places[i].calls > places[i].most) {
            places[i].most = places[i].calls;
        }
    }
}

uint32_t counts_most(void *function)
{
    return places[place_of(function)].most;
}
