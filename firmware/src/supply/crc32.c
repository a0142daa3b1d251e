#include "supply/crc32.h"

/* Half a byte at a time: 64 bytes of table, and eleven instructions a byte on a Cortex-M4. */
static uint32_t add_half(uint32_t crc)
{
    static const uint32_t table[16] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
        0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
        0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
    };
    return crc >> 4 ^ table[crc & 15u];
}

uint32_t crc32_add(uint32_t crc, const void *bytes, size_t size)
{
    const uint8_t *byte = bytes;

    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc = add_half(add_half(crc ^ byte[i]));
    }
    return ~crc;
}
