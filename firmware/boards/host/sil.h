/* Software in the loop: the firmware as a library, the same bytes in and out as on a serial line.
   The caller owns the memory of each instance, sil_size() bytes; nothing is shared between two. */
#ifndef SIL_H
#define SIL_H

#include <stddef.h>
#include <stdint.h>

typedef struct sil sil_t;

size_t sil_size(void);

/* Power-on: the instance says BOOT. `microseconds` is its clock, which wraps. */
void sil_start(sil_t *sil, uint32_t microseconds);

/* The same with memory that outlasts the power: two pages of `page_size` bytes, one behind the
   other, which are the caller's and are all 0xFF when new. The power is cut at the change of the
   byte of this number: that one is half done, and nothing changes there until the next start. */
void sil_start_with(sil_t *sil, uint32_t microseconds, uint8_t *pages, size_t page_size,
                    uint64_t changes);

/* Bytes come on a port (port_t of boards/board.h), at that time of the firmware's clock, and it
   does what they ask. What it cannot take yet waits, up to 4096 bytes a port. */
void sil_write(sil_t *sil, uint32_t port, uint32_t microseconds, const uint8_t *bytes, size_t size);

/* Takes up to capacity bytes that the firmware has written to a port. Returns how many. */
size_t sil_read(sil_t *sil, uint32_t port, uint8_t *bytes, size_t capacity);

/* A fault of the processor: the bytes that make the actuators safe leave, and the firmware starts
   again and knows `cause` (crash_cause_t of boards/board.h). */
void sil_crash(sil_t *sil, uint32_t cause);

/* From now on the clock goes on by so much in each control step, which takes none otherwise. */
void sil_slow(sil_t *sil, uint32_t microseconds);

#endif
