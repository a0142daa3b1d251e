/* Bytes between an interrupt and the program, one of which writes and the other reads. */
#ifndef RING_H
#define RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controller_config.h"
#include "instruments/actuator_status.h"
#include "solver/loop_bound.h"
#include "wire/frame.h"

/* Bytes that are written at once: a frame, or what the actuators are told. */
#define WRITE_MAX (FRAME_SIZE_MAX > ACTUATOR_BYTES_MAX ? FRAME_SIZE_MAX : ACTUATOR_BYTES_MAX)

typedef struct {
    uint8_t *bytes;
    uint32_t size;          /* a power of two */
    volatile uint32_t head; /* its writer's: bytes put in so far */
    volatile uint32_t tail; /* its reader's: bytes taken out so far */
} ring_t;

#define RING(array) {.bytes = (array), .size = (uint32_t)sizeof(array)}

static inline uint32_t ring_used(const ring_t *ring)
{
    return ring->head - ring->tail;
}

/* The bytes must be in memory before the other side sees that there are more. */
static inline void ring_barrier(void)
{
    __asm__ volatile("" ::: "memory");
}

/* false: full */
static inline bool ring_put(ring_t *ring, uint8_t byte)
{
    const uint32_t head = ring->head;
    if (head - ring->tail >= ring->size) {
        return false;
    }
    ring->bytes[head & (ring->size - 1u)] = byte;
    ring_barrier();
    ring->head = head + 1u;
    return true;
}

/* All or none. */
static inline bool ring_put_all(ring_t *ring, const uint8_t *bytes, size_t size)
{
    if (size > ring->size - ring_used(ring)) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        LOOP_BOUND(WRITE_MAX);
        (void)ring_put(ring, bytes[i]);
    }
    return true;
}

/* false: empty */
static inline bool ring_take(ring_t *ring, uint8_t *byte)
{
    const uint32_t tail = ring->tail;
    if (tail == ring->head) {
        return false;
    }
    *byte = ring->bytes[tail & (ring->size - 1u)];
    ring_barrier();
    ring->tail = tail + 1u;
    return true;
}

#endif
