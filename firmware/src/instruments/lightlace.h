/* LightLace and other boards that write a line of counts a sample, in either format:
 *
 *     26,0,91<CR><LF>        <26, 0, 91><LF>
 *
 * Blanks stand anywhere between numbers, signs, commas and brackets. A line that is anything else,
 * torn, garbled, longer than LIGHTLACE_LINE_MAX or of another number of channels, is dropped and
 * counted; the next line feed begins afresh. soft_control/link/lace_line.py reads the same. */
#ifndef LIGHTLACE_H
#define LIGHTLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "controller_config.h"

#define LIGHTLACE_LINE_MAX 1024 /* bytes, the line feed included */
#define LIGHTLACE_DIGITS_MAX 10

typedef struct {
    bool is_signed;
    bool torn_start; /* the board streams already: what comes before a line feed is no line */
} lightlace_config_t;

/* All zero is a fresh decoder. */
typedef struct {
    uint32_t samples;
    uint32_t dropped; /* lines that were none */
    uint32_t value;   /* of the count that is being read */
    uint16_t size;    /* bytes of the line so far */
    uint16_t channel; /* counts that are complete */
    uint8_t digits;
    uint8_t place;    /* lightlace_place_t */
    bool bracketed;
    bool negative;
    bool skipping; /* the rest of a line that is too long */
    bool started;
    int32_t counts[SENSOR_SLOTS];
} lightlace_t;

/* Where in a line the decoder is. */
typedef enum {
    LIGHTLACE_START,  /* nothing but blanks yet */
    LIGHTLACE_FIELD,  /* before a count: behind the bracket or a comma */
    LIGHTLACE_NUMBER, /* within one */
    LIGHTLACE_BEHIND, /* behind one: a comma, the bracket, or the end follows */
    LIGHTLACE_CLOSED, /* behind the closing bracket */
    LIGHTLACE_WRONG   /* this is no line */
} lightlace_place_t;

/* True: `byte` completes a sample, whose counts are then written. */
bool lightlace_decode(lightlace_t *decoder, const lightlace_config_t *config, uint8_t byte,
                      int32_t counts[SENSOR_SLOTS]);

#endif
