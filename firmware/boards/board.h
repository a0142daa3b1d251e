/* All that the firmware asks of a board. Everything that touches a register is behind this. */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct board board_t;

/* The serial ports. */
typedef enum { PORT_HOST, PORT_SENSOR, PORT_ACTUATOR, PORTS } port_t;

typedef enum {
    STEP_COST_NONE = 0,
    STEP_COST_INSTRUCTIONS = 1,
    STEP_COST_CYCLES = 2
} step_cost_unit_t;

typedef enum {
    RESET_UNKNOWN = 0, /* also power-on under an emulator, which keeps no record */
    RESET_POWER_ON = 1,
    RESET_PIN = 2,
    RESET_SOFTWARE = 3,
    RESET_WATCHDOG = 4,
    RESET_FAULT = 5
} reset_cause_t;

/* What ended the last run before its time; addresses are those of the ELF. */
typedef enum {
    CRASH_NONE = 0,
    CRASH_HARD_FAULT = 1,
    CRASH_MEMORY_FAULT = 2, /* also a stack that has run into its guard */
    CRASH_BUS_FAULT = 3,
    CRASH_USAGE_FAULT = 4,
    CRASH_ASSERTION = 5,
    CRASH_INTERRUPT = 6, /* one that nobody asked for */
    CRASH_WATCHDOG = 7
} crash_cause_t;

typedef struct {
    uint8_t cause;       /* crash_cause_t */
    uint32_t pc;         /* 0 where it is not known, as after a watchdog */
    uint32_t lr;         /* where the stack has run over: the last return address on it */
    uint32_t psr;
    uint32_t status;     /* CFSR; the line of the assertion; the number of the exception */
    uint32_t address;    /* that a memory or bus fault was about; 0: none */
    uint32_t stack_free; /* bytes of the stack that were never used until then */
} crash_t;

/* Clocks, serial ports, clock and step-cost counter. A board of its own has one
 * instance; the host board (boards/host/sil.h) has as many as its user makes, and no board_init. */
board_t *board_init(void);

const char *board_name(const board_t *board);

/* What an image for this board says that it is for: a folder of boards/. Where the chip tells what
 * it is, it is asked. */
const char *board_image_name(const board_t *board);

/* The first byte of the image that runs here, and how much can be read from there on; NULL, 0: it
 * is a file of the host's, who looks at it before. */
const uint8_t *board_image(const board_t *board, size_t *size_max);

/* Memory that outlasts the power: pages that are erased each as a whole, to 0xFF. Between two
 * erasures bits only go from 1 to 0. Size 0: there is none. */
enum { BOARD_PAGES = 2 };
size_t board_page_size(const board_t *board);
const uint8_t *board_page(const board_t *board, int page);

/* false: it has failed. While nothing is driven: the core may stand still for as long as it takes,
 * 2 s for a page and 0.1 ms for a word, and bytes that come meanwhile are lost. The watchdogs know.
 * `offset` is in bytes, a multiple of four. */
bool board_page_erase(board_t *board, int page);
bool board_page_write(board_t *board, int page, size_t offset, const uint32_t *words, size_t count);
reset_cause_t board_reset_cause(const board_t *board);

/* What ended the last run, until the next power-on; NULL: nothing did. */
const crash_t *board_crash(const board_t *board);

/* For what can never be, unless the program or the memory is damaged: puts the outputs safe, keeps
 * a record, starts again. `line` is of the source. */
#define CHECK(board, condition) ((condition) ? (void)0 : board_fail((board), __LINE__))
void board_fail(board_t *board, uint32_t line);

/* The bytes that make the actuators safe, which a fault handler writes to their port; they must
 * stay where they are. size 0: none, actuators keep what they were told last. */
void board_safe_bytes(board_t *board, const uint8_t *bytes, size_t size);

/* Tells the watchdog that a whole cycle has gone well. The first call starts it; from then on the
 * next must come within two control periods, or 250 ms where they are shorter. */
void board_feed(board_t *board);

/* Bytes of the stack that were never used since power-on; 0 where nobody knows. */
uint32_t board_stack_free(const board_t *board);

/* No board keeps more bytes of a line; as many are taken at a time, so that a line that never ends
 * keeps nobody from all else. */
#define PORT_BYTES_MAX 4096u

/* false: nothing has come */
bool board_read_byte(board_t *board, port_t port, uint8_t *byte);

/* All of the bytes or none: false where the line is so far behind that they would have to wait for
 * room. They leave while the program goes on. */
bool board_write(board_t *board, port_t port, const uint8_t *bytes, size_t size);

/* Wraps after 71 minutes: compare differences. */
uint32_t board_microseconds(const board_t *board);

step_cost_unit_t board_step_cost_unit(const board_t *board);
void board_step_cost_begin(board_t *board);
/* What was spent since begin, without the cost of the two calls. */
uint32_t board_step_cost_end(board_t *board);

/* Time in steps of the counter that the step cost comes from; it wraps, and stands still on a
 * board that has none. */
uint32_t board_ticks(const board_t *board);
uint32_t board_ticks_per_us(const board_t *board);

/* Sleeps until a byte comes, and no longer than until the next of SUBTICKS_HZ wake-ups a second,
 * of which a whole number is a control period. */
#define SUBTICKS_OF(rate_hz) ((uint32_t)(999.0f / (rate_hz)) + 1u)
#define SUBTICKS_HZ (CONTROL_RATE_HZ * (float)SUBTICKS_OF(CONTROL_RATE_HZ))
void board_idle(board_t *board);

#endif
