/* A memory for pages.c that fails when a test says so, and one that an image lies in. */
#include <string.h>

#include "boards/board.h"

#define PAGE 256u

uint8_t memory[BOARD_PAGES * PAGE];
/* The call that fails, counted from 0, and after how many bytes; -1: none does. */
int fails_at = -1;
uint32_t done_before;
int calls;

/* The image. Behind its vectors, 64 bytes here, is what image.c knows as its header. */
uint8_t flash[1024];
__asm__(".globl image_header\n.set image_header, flash + 64");

static bool change(uint8_t *bytes, const uint8_t *values, size_t size)
{
    const bool fails = calls++ == fails_at;
    for (size_t i = 0; i < size && (!fails || i < done_before); i++) {
        bytes[i] = values == NULL ? 0xFFu : (uint8_t)(bytes[i] & values[i]);
    }
    return !fails;
}

size_t board_page_size(const board_t *board)
{
    (void)board;
    return PAGE;
}

const uint8_t *board_page(const board_t *board, int page)
{
    (void)board;
    return &memory[(size_t)page * PAGE];
}

bool board_page_erase(board_t *board, int page)
{
    (void)board;
    return change(&memory[(size_t)page * PAGE], NULL, PAGE);
}

bool board_page_write(board_t *board, int page, size_t offset, const uint32_t *words, size_t count)
{
    (void)board;
    return change(&memory[(size_t)page * PAGE + offset], (const uint8_t *)words, 4u * count);
}
