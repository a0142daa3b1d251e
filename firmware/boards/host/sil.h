/* Software in the loop: the firmware as a library, the same bytes in and out as on a serial line.
   The caller owns the memory of each instance, sil_size() bytes; nothing is shared between two. */
#ifndef SIL_H
#define SIL_H

#include <stddef.h>
#include <stdint.h>

typedef struct sil sil_t;

size_t sil_size(void);

/* Power-on: the instance says BOOT. */
void sil_start(sil_t *sil, uint32_t milliseconds);

/* The firmware takes the bytes and does what they ask, at that time of its clock. */
void sil_write(sil_t *sil, uint32_t milliseconds, const uint8_t *bytes, size_t size);

/* Takes up to capacity bytes that the firmware has written. Returns how many. */
size_t sil_read(sil_t *sil, uint8_t *bytes, size_t capacity);

#endif
