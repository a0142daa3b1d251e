/* Sizes of the instruments under test; -D says which they are. */
#ifndef CONTROLLER_CONFIG_H
#define CONTROLLER_CONFIG_H

#define COMMANDS 2
#define SENSOR_CHANNELS 3
#define SENSOR_SLOTS 3
#define FRAME_CONTENT_MAX 250

#endif
