/* From reset to main on QEMU's netduinoplus2 and mps2-an386, and semihosting: files and the exit
 * code go to the host. */
#include "cortex_m4f.h"

#include <stddef.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

/* Exit codes; the host turns them into words. */
enum { EXIT_FAULT = 2, EXIT_FILE = 3 };

extern uint32_t stack_top[], data_load[], data_start[], data_end[], bss_start[], bss_end[];

int main(void);
void reset_handler(void);

/* Operations of Arm's semihosting interface: number in r0, address of the arguments in r1. */
enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };

static uint32_t semihost(uint32_t operation, const void *arguments)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void leave(uint32_t code)
{
    const uint32_t arguments[2] = {0x20026u /* the application ended */, code};
    for (;;) {
        (void)semihost(SYS_EXIT_EXTENDED, arguments);
    }
}

int file_open(const char *name, int mode)
{
    uint32_t length = 0;
    while (name[length] != '\0') {
        length++;
    }
    const uint32_t arguments[3] = {(uint32_t)name, (uint32_t)mode, length};
    const int file = (int)semihost(SYS_OPEN, arguments);
    if (file < 0) {
        leave(EXIT_FILE);
    }
    return file;
}

int file_read(int file, void *bytes, uint32_t size)
{
    const uint32_t arguments[3] = {(uint32_t)file, (uint32_t)bytes, size};
    return semihost(SYS_READ, arguments) == 0u;
}

void file_write(int file, const void *bytes, uint32_t size)
{
    const uint32_t arguments[3] = {(uint32_t)file, (uint32_t)bytes, size};
    if (semihost(SYS_WRITE, arguments) != 0u) {
        leave(EXIT_FILE);
    }
}

static void fault_handler(void)
{
    leave(EXIT_FAULT);
}

void reset_handler(void)
{
    REGISTER(0xE000ED88u) |= 0xFu << 20; /* floating-point unit on, before any code that may use it */
    __asm__ volatile("dsb\n\tisb\n\tcpsid i" ::: "memory");

    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to < data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = bss_start; to < bss_end; to++) {
        *to = 0u;
    }
#ifdef MPS2_AN386
    REGISTER(0x40000008u) = 0xFFFFFFFFu; /* Timer 0 of the CMSDK: all 32 bits, */
    REGISTER(0x40000000u) = 1u;          /* and count. */
#else
    REGISTER(0x40000028u) = 0u;          /* TIM2: no prescaler, */
    REGISTER(0x4000002Cu) = 0xFFFFFFFFu; /* all 32 bits, */
    REGISTER(0x40000014u) = 1u;          /* take both over, */
    REGISTER(0x40000000u) = 1u;          /* and count. */
#endif
    leave((uint32_t)main());
}

typedef void (*handler_t)(void);

static const struct {
    uint32_t *stack;
    handler_t exceptions[15];
} vectors __attribute__((section(".vectors"), used)) = {
    stack_top,
    {reset_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, NULL, NULL,
     NULL, NULL, fault_handler, fault_handler, NULL, fault_handler, fault_handler},
};
