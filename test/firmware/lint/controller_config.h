/* Settings with which lint.py looks at the sources: as soft_control.firmware_build writes them, of
 * robots that between them compile every part. -DROBOT says which. */
#ifndef CONTROLLER_CONFIG_H
#define CONTROLLER_CONFIG_H

#define TENDON 1
#define HASEL 2
#define BARE 3

#if ROBOT == TENDON
#define COMMANDS 2
#define OUTPUTS 3
#define OUTPUT_GROUPS 1
#define GROUP_SIZE 3
#define OUTPUT_GROUP {0, 0, 0}
#define OUTPUT_PLACE {0, 1, 2}
#define CURVES 6
#define GROUP_FEATURES {10}
#define GROUP_CURVES {1}
#define GROUP_ERROR {0.02f}
#define SIGNALS 4
#define SIGNAL_SLOTS 4
#define MEMORIES 4
#define MEMORY_GAIN {0.008f, 0.008f, 0.002f, 0.002f}
#define SIGNAL_MODEL 1
#define SIGNAL_UNITS 12
#define SIGNAL_DOUBT 1
#define OBSERVER 1
#define SENSOR lightlace
#define SENSOR_HEADER "instruments/lightlace.h"
#define SENSOR_CHANNELS 11
#define ACTUATOR dynamixel
#define ACTUATOR_HEADER "instruments/dynamixel.h"
#define ACTUATOR_HALF_DUPLEX 1
#define INPUT_DELAY 5
#define STATES 0
#define FOLD 1
#define MPC_ITERATIONS 1
#define MPC_METHOD MPC_GAUSS_NEWTON
#elif ROBOT == HASEL
#define COMMANDS 6
#define OUTPUTS 4
#define OUTPUT_GROUPS 2
#define GROUP_SIZE 3
#define OUTPUT_GROUP {0, 0, 0, 1}
#define OUTPUT_PLACE {0, 1, 2, 0}
#define GROUP_FEATURES {4, 2}
#define GROUP_CURVES {0, 0}
#define GROUP_ERROR {0.02f, 0.02f}
#define SIGNALS 18
#define SIGNAL_SLOTS 18
#define MEMORIES 0
#define SIGNAL_MODEL 1
#define SIGNAL_UNITS 4
#define SIGNAL_DOUBT 1
#define OBSERVER 0
#define SENSOR magnetic
#define SENSOR_HEADER "instruments/magnetic.h"
#define SENSOR_CHANNELS 18
#define ACTUATOR hasel_driver
#define ACTUATOR_HEADER "instruments/hasel_driver.h"
#define ACTUATOR_HALF_DUPLEX 0
#define INPUT_DELAY 0
#define STATES 3
#define FOLD 0
#define MPC_ITERATIONS 3
#define MPC_METHOD MPC_NEWTON
#else
#define COMMANDS 1
#define OUTPUTS 1
#define OUTPUT_GROUPS 1
#define GROUP_SIZE 1
#define OUTPUT_GROUP {0}
#define OUTPUT_PLACE {0}
#define GROUP_FEATURES {2}
#define GROUP_CURVES {0}
#define GROUP_ERROR {0.02f}
#define SIGNALS 0
#define SIGNAL_SLOTS 1
#define MEMORIES 0
#define SIGNAL_MODEL 0
#define SIGNAL_DOUBT 0
#define OBSERVER 0
#define SENSOR lightlace
#define SENSOR_HEADER "instruments/lightlace.h"
#define SENSOR_CHANNELS 0
#define ACTUATOR analogue
#define ACTUATOR_HEADER "instruments/analogue.h"
#define ACTUATOR_HALF_DUPLEX 0
#define INPUT_DELAY 1
#define STATES 0
#define FOLD 0
#define MPC_ITERATIONS 2
#define MPC_METHOD MPC_SOLOWAY
#define BARRIER 0.01f
#endif

#define INPUT_LAGS 3
#define OUTPUT_LAGS 3
#define CONTROL_RATE_HZ 120.0f
#define REFERENCE_POINTS 1200
#define TELEMETRY_EVERY 2u
#define SENSOR_BAUD 2000000u
#define SENSOR_SLOTS (SENSOR_CHANNELS > 0 ? SENSOR_CHANNELS : 1)
#define ACTUATOR_BAUD 1000000u
#define FRAME_CONTENT_MAX 500
#define HORIZON 8
#define CONTROL_HORIZON 3
#define FIRST_COST_STAGE (INPUT_DELAY + 1)
#define LINE_SEARCH_TRIALS 4
#define TAIL_CONTINUES 1
#define STEP_BUDGET_US 8333u

#endif
