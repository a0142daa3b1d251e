/* Sizes of the instruments under test; -D says which they are, and may say other sizes. */
#ifndef CONTROLLER_CONFIG_H
#define CONTROLLER_CONFIG_H

#ifndef COMMANDS
#define COMMANDS 2
#endif
#ifndef SENSOR_CHANNELS
#define SENSOR_CHANNELS 3
#endif
#define SENSOR_SLOTS (SENSOR_CHANNELS > 0 ? SENSOR_CHANNELS : 1)
#define FRAME_CONTENT_MAX 250

#endif
