/* The last two sectors of the flash, 128 KiB each, which the image leaves free (stm32f405.ld). */
#ifndef FLASH_H
#define FLASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLASH_START 0x08000000u
#define FLASH_IMAGE_SIZE 0xC0000u
#define FLASH_PAGE_SIZE 0x20000u
#define FLASH_PAGE(page) (FLASH_START + FLASH_IMAGE_SIZE + (uint32_t)(page) * FLASH_PAGE_SIZE)

/* The longest that an erasure may take: 2 s by the data sheet, with 32 bits at once. */
#define FLASH_ERASE_S 2.0f

/* As board_page_erase and board_page_write say. The core stands still whenever it wants an
 * instruction while the flash is busy, interrupts too. */
bool flash_erase(int page);
bool flash_write(uint32_t address, const uint32_t *words, size_t count);

#endif
