/* As reference manual RM0090 says in section 3.6: unlock, erase a sector, program words, lock. */
#include "boards/stm32f405/flash.h"

#include "boards/stm32f405/clock.h"
#include "boards/stm32f405/stm32f405.h"
#include "solver/loop_bound.h"

#define FIRST_SECTOR 10

/* Nothing that goes well takes as long: twice the longest erasure. */
#define PATIENCE_US ((uint32_t)(2.0f * FLASH_ERASE_S * 1e6f))

static bool wait(void)
{
    const uint32_t since_us = clock_microseconds();
    while ((FLASH_SR & FLASH_SR_BSY) != 0u) {
        LOOP_BOUND(PATIENCE_US); /* a turn takes more than a cycle */
        if (clock_microseconds() - since_us > PATIENCE_US) {
            return false;
        }
    }
    return true;
}

static bool unlock(void)
{
    if (!wait()) {
        return false;
    }
    if ((FLASH_CR & FLASH_CR_LOCK) != 0u) {
        FLASH_KEYR = 0x45670123u;
        FLASH_KEYR = 0xCDEF89ABu;
    }
    FLASH_SR = FLASH_SR_ERRORS; /* those of before: each is cleared by a one */
    return (FLASH_CR & FLASH_CR_LOCK) == 0u;
}

/* Was it done, and without an error? Whatever happened, the flash is locked again. */
static bool lock(bool done)
{
    const bool good = wait() && (FLASH_SR & FLASH_SR_ERRORS) == 0u;
    FLASH_CR = FLASH_CR_LOCK;
    return done && good;
}

/* The caches do not see that the flash has changed. */
static void forget_caches(void)
{
    const uint32_t on = FLASH_ACR;
    FLASH_ACR = on & ~FLASH_ACR_CACHES;
    FLASH_ACR = (on & ~FLASH_ACR_CACHES) | FLASH_ACR_FORGET;
    FLASH_ACR = on & ~FLASH_ACR_CACHES;
    FLASH_ACR = on;
}

bool flash_erase(int page)
{
    if (!unlock()) {
        return false;
    }
    FLASH_CR = FLASH_CR_PSIZE_WORD | FLASH_CR_SER | FLASH_CR_SNB(FIRST_SECTOR + page);
    FLASH_CR |= FLASH_CR_STRT;
    const bool erased = lock(true);
    forget_caches();
    return erased;
}

bool flash_write(uint32_t address, const uint32_t *words, size_t count)
{
    bool written = unlock();

    if (written) {
        FLASH_CR = FLASH_CR_PSIZE_WORD | FLASH_CR_PG;
    }
    for (size_t i = 0; i < count && written; i++) {
        FLASH_WORD(address + 4u * (uint32_t)i) = words[i];
        written = wait() && (FLASH_SR & FLASH_SR_ERRORS) == 0u;
    }
    written = lock(written);
    forget_caches();
    return written;
}
