/* The sensor and the actuators that a firmware was built for, by names that know no kind.
 * controller_config.h says which: SENSOR lightlace with SENSOR_HEADER "instruments/lightlace.h" and
 * so on. Only these two are compiled; docs/instruments.md has the bytes of each. */
#ifndef INSTRUMENTS_H
#define INSTRUMENTS_H

#include "controller_config.h"

#include SENSOR_HEADER
#include ACTUATOR_HEADER

#define INSTRUMENT_PASTE(kind, name) kind##name
#define INSTRUMENT_NAME(kind, name) INSTRUMENT_PASTE(kind, name)

typedef INSTRUMENT_NAME(SENSOR, _t) sensor_t;
typedef INSTRUMENT_NAME(SENSOR, _config_t) sensor_config_t;
#define sensor_decode INSTRUMENT_NAME(SENSOR, _decode)

typedef INSTRUMENT_NAME(ACTUATOR, _t) actuator_t;
typedef INSTRUMENT_NAME(ACTUATOR, _config_t) actuator_config_t;
#define actuator_drive INSTRUMENT_NAME(ACTUATOR, _drive)
#define actuator_disarm INSTRUMENT_NAME(ACTUATOR, _disarm)
#define actuator_decode INSTRUMENT_NAME(ACTUATOR, _decode)

#endif
