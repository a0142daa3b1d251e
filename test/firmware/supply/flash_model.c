/* flash.c on a model of the STM32F405's flash, by reference manual RM0090, section 3: each access
 * to a register is a call here, which first lets the one before it have its effect. What the manual
 * forbids ends the program with a line that says so. */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUSY_TURNS 3 /* reads of the status that find it busy after a word or an erasure */
#define LAST_SECTORS 0x080C0000u
#define SECTOR_SIZE 0x20000u

enum { ACR, KEYR, SR, CR, REGISTERS };
#define ERRORS 0xF2u
#define BSY (1u << 16)
#define PG 1u
#define SER 2u
#define PSIZE (3u << 8)
#define STRT (1u << 16)
#define LOCK (1u << 31)

static uint8_t memory[2 * SECTOR_SIZE];
static uint32_t registers[REGISTERS], before[REGISTERS];
static int pending = -1; /* the register, or REGISTERS for a word of the flash */
static uint32_t word, word_address;
static int keys, busy;
static uint32_t microseconds;
static unsigned erased, programmed;
static int fail_word = -1; /* the one that reports an error */
static bool stuck;         /* busy for ever */

static void forbid(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stdout, format, arguments);
    fputc('\n', stdout);
    va_end(arguments);
    exit(3);
}

static void begin(void)
{
    busy = BUSY_TURNS;
    registers[SR] |= BSY;
}

static void control(uint32_t was, uint32_t now)
{
    if ((was & LOCK) != 0u) {
        registers[CR] = was; /* writes are lost */
        if (now != was) {
            forbid("CR written while locked");
        }
        return;
    }
    if ((registers[SR] & BSY) != 0u && now != was && !stuck) {
        forbid("CR written while busy");
    }
    if ((now & STRT) != 0u) {
        const uint32_t sector = now >> 3 & 15u;
        if ((now & SER) == 0u || (now & PG) != 0u) {
            forbid("STRT without SER");
        }
        if (sector != 10u && sector != 11u) {
            forbid("erases sector %u", sector);
        }
        memset(&memory[(sector - 10u) * SECTOR_SIZE], 0xFF, SECTOR_SIZE);
        erased++;
        registers[CR] &= ~STRT;
        begin();
    }
}

static void program(void)
{
    uint32_t there;
    if (word_address < LAST_SECTORS || word_address - LAST_SECTORS > sizeof memory - 4u
        || word_address % 4u != 0u) {
        forbid("writes to 0x%08x", word_address);
    }
    if ((registers[CR] & LOCK) != 0u || (registers[CR] & PG) == 0u
        || (registers[CR] & PSIZE) != 2u << 8) {
        forbid("a word without PG and PSIZE of 32 bits");
    }
    if ((registers[SR] & BSY) != 0u) {
        forbid("a word while busy");
    }
    memcpy(&there, &memory[word_address - LAST_SECTORS], 4u);
    there &= word;
    memcpy(&memory[word_address - LAST_SECTORS], &there, 4u);
    if ((int)programmed++ == fail_word) {
        registers[SR] |= 1u << 4;
    }
    begin();
}

/* What the last access has written has its effect. */
static void settle(void)
{
    const int done = pending;
    pending = -1;
    if (done == REGISTERS) {
        program();
    } else if (done >= 0 && registers[done] != before[done]) {
        const uint32_t now = registers[done], was = before[done];
        if (done == KEYR) {
            const uint32_t wanted = keys == 0 ? 0x45670123u : 0xCDEF89ABu;
            if (now != wanted || (registers[CR] & LOCK) == 0u) {
                forbid("key 0x%08x", now);
            }
            if (++keys == 2) {
                registers[CR] &= ~LOCK;
                keys = 0;
            }
            registers[KEYR] = 0u;
        } else if (done == SR) {
            registers[SR] = was & ~(now & ERRORS);
        } else if (done == ACR) {
            if ((now & 3u << 11) != 0u && (was & 3u << 9) != 0u) {
                forbid("caches emptied while they are on");
            }
        } else {
            control(was, now);
        }
    }
}

volatile uint32_t *model_register(int number)
{
    settle();
    if (number == SR && (registers[SR] & BSY) != 0u && !stuck && busy-- == 0) {
        registers[SR] &= ~BSY;
    }
    pending = number;
    before[number] = registers[number];
    return (volatile uint32_t *)&registers[number];
}

volatile uint32_t *model_word(uint32_t address)
{
    settle();
    pending = REGISTERS;
    word_address = address;
    return (volatile uint32_t *)&word;
}

uint32_t clock_microseconds(void)
{
    return microseconds += 1000u;
}

#include "flash_under_test.c"

static void check(bool good, const char *what)
{
    settle();
    if (!good) {
        forbid("not so: %s", what);
    }
}

#define CHECK(condition) check((condition), #condition)

int main(void)
{
    uint32_t words[64];
    registers[CR] = LOCK;
    registers[ACR] = 7u << 8 | 5u;
    registers[SR] = 0xF0u; /* left over from before */
    for (uint32_t i = 0; i < 64u; i++) {
        words[i] = 0x9E3779B9u * (i + 1u);
    }
    memset(memory, 0x00, sizeof memory);
    for (int page = 0; page < 2; page++) {
        CHECK(flash_erase(page));
        CHECK((registers[CR] & LOCK) != 0u);
        CHECK(registers[ACR] == (7u << 8 | 5u));
        const uint8_t *at = &memory[(size_t)page * SECTOR_SIZE];
        for (size_t i = 0; i < SECTOR_SIZE; i++) {
            CHECK(at[i] == 0xFFu);
        }
        CHECK(flash_write(FLASH_PAGE(page) + 12u, words, 64u));
        CHECK((registers[CR] & LOCK) != 0u);
        CHECK(memcmp(at + 12, words, sizeof words) == 0);
        CHECK(at[11] == 0xFFu && at[12 + sizeof words] == 0xFFu);
    }
    CHECK(erased == 2u && programmed == 128u);
    CHECK(memory[SECTOR_SIZE + 12] == (uint8_t)words[0]); /* the first page was left as it was */

    fail_word = 130;
    CHECK(!flash_write(FLASH_PAGE(0) + 1024u, words, 64u));
    CHECK(programmed == 131u); /* none after the one that failed */
    CHECK((registers[CR] & LOCK) != 0u);
    fail_word = -1;
    CHECK(flash_write(FLASH_PAGE(0) + 2048u, words, 64u)); /* the error is not counted twice */

    stuck = true;
    registers[SR] |= BSY;
    const uint32_t since = microseconds;
    CHECK(!flash_erase(0));
    CHECK(!flash_write(FLASH_PAGE(0) + 4096u, words, 1u));
    CHECK(microseconds - since < 20000000u); /* no wait without end */
    puts("good");
    return 0;
}
