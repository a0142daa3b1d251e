/* Runs a test program of the host on the emulated core: the file `in` is its standard input, `out` its
 * output, a word a line of `words` its arguments; `code` receives the exit code. QEMU gives files by
 * semihosting. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 4

int program_main(int count, char **words);
void initialise_monitor_handles(void);
void reset(void);
void trapped(void);

extern uint32_t data_from[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];

static int run(void)
{
    static char lines[WORDS_MAX][80] = {"program"};
    char *words[WORDS_MAX + 1] = {lines[0]};
    int count = 1;
    FILE *file = fopen("words", "r");

    while (file != NULL && count < WORDS_MAX && fgets(lines[count], sizeof lines[0], file) != NULL) {
        lines[count][strcspn(lines[count], "\n")] = '\0';
        words[count] = lines[count];
        count++;
    }
    if (freopen("in", "rb", stdin) == NULL || freopen("out", "wb", stdout) == NULL) {
        return 2;
    }
    return program_main(count, words);
}

void reset(void)
{
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: the floating-point unit is on */
    __asm volatile("dsb\n isb");
    memcpy(data_start, data_from, (size_t)((uint8_t *)data_end - (uint8_t *)data_start));
    memset(bss_start, 0, (size_t)((uint8_t *)bss_end - (uint8_t *)bss_start));
    initialise_monitor_handles();
    const int code = run();
    (void)fclose(stdout);
    FILE *file = fopen("code", "w");
    if (file != NULL) {
        (void)fprintf(file, "%d", code);
        (void)fclose(file);
    }
    exit(code);
}

/* A fault: the program ends without `code`. */
void trapped(void)
{
    _Exit(3);
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    stack_top, reset,   trapped, trapped, trapped, trapped, trapped, trapped,
    trapped,   trapped, trapped, trapped, trapped, trapped, trapped, trapped,
};

void _init(void);
void _fini(void);
void _init(void) {}
void _fini(void) {}
