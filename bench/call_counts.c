/* The firmware for the host, with a count of the calls of its functions, those that are inlined too:
 * gcc's -finstrument-functions tells of them. */
#include <stddef.h>
#include <stdint.h>

#include "boards/host/sil.c"

#define PLACES 4096u /* a power of two, more than there are functions */
#define QUIET __attribute__((no_instrument_function))

typedef struct {
    void *function;
    uint32_t calls, most;
} place_t;

void __cyg_profile_func_enter(void *function, void *caller) QUIET;
void __cyg_profile_func_exit(void *function, void *caller) QUIET;
void counts_within(void *function) QUIET;
uint32_t counts_most(void *function) QUIET;
uint64_t counts_runs(void) QUIET;

static place_t places[PLACES];
static place_t *called[PLACES]; /* since the run began */
static size_t called_count;
static void *within;
static uint64_t runs;

QUIET static place_t *place_of(const void *function)
{
    size_t place = ((uintptr_t)function >> 4) & (PLACES - 1u);
    while (places[place].function != NULL && places[place].function != function) {
        place = (place + 1u) & (PLACES - 1u);
    }
    return &places[place];
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
        for (; called_count > 0u; called_count--) {
            called[called_count - 1u]->calls = 0u;
        }
    }
    place_t *place = place_of(function);
    place->function = function;
    if (place->calls++ == 0u) {
        called[called_count++] = place;
    }
}

void __cyg_profile_func_exit(void *function, void *caller)
{
    (void)caller;
    if (function == within) {
        runs++;
        for (size_t i = 0; i < called_count; i++) {
            if (called[i]->calls > called[i]->most) {
                called[i]->most = called[i]->calls;
            }
        }
    }
}

uint32_t counts_most(void *function)
{
    return place_of(function)->most;
}

/* How often that function has returned. */
uint64_t counts_runs(void)
{
    return runs;
}
