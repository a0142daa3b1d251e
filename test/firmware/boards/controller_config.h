/* Of no robot: what the boards want to know. */
#ifndef CONTROLLER_CONFIG_H
#define CONTROLLER_CONFIG_H

#define FRAME_CONTENT_MAX 100
#define COMMANDS 2
#define CONTROL_RATE_HZ 120.0f
#ifndef SENSOR_BAUD
#define SENSOR_BAUD 2000000u
#endif
#define ACTUATOR_BAUD 1000000u

#endif
