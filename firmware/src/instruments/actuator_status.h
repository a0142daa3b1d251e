/* What actuators say of themselves. */
#ifndef ACTUATOR_STATUS_H
#define ACTUATOR_STATUS_H

#include <stdint.h>

/* Zero is "not known": all of it at the start, what an instrument does not measure for ever. */
typedef struct {
    uint8_t index;     /* of the actuator that has spoken last */
    uint8_t errors;    /* bits, as the instrument's own documents have them */
    float position;    /* in the unit of its command */
    float load;        /* share of the largest, signed */
    float voltage;     /* V */
    float temperature; /* degrees C */
    uint32_t answers;
    uint32_t bad; /* answers that were damaged */
} actuator_status_t;

/* Room for the longest message to any actuators: a frame of wire/frame.h with COMMANDS floats, or
 * two packets of the Dynamixel with five bytes a servo and a request. */
#define ACTUATOR_BYTES_MAX (40 + 10 * COMMANDS)

#endif
