/* Sizes of the decoders under test; -D says which instruments they are. */
#ifndef CONTROLLER_CONFIG_H
#define CONTROLLER_CONFIG_H

#define COMMANDS 2
#define OUTPUTS 3
#define SIGNALS 4
#define SIGNAL_SLOTS 4
#ifndef SENSOR_CHANNELS
#define SENSOR_CHANNELS 3
#endif
#define SENSOR_SLOTS SENSOR_CHANNELS
#define FRAME_CONTENT_MAX 250

#endif
