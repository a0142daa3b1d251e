/* CRC-32 as in Ethernet, ZIP and Python's zlib.crc32: polynomial 0x04C11DB7, reflected, start and
 * final xor 0xFFFFFFFF. "123456789" gives 0xCBF43926. */
#ifndef CRC32_H
#define CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Goes on with `crc`, which begins at 0. */
uint32_t crc32_add(uint32_t crc, const void *bytes, size_t size);

#endif
