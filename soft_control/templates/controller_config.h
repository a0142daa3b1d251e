/* Sizes and settings of one controller, written by soft_control.firmware_build. Do not edit. */
#ifndef CONTROLLER_CONFIG_H
#define CONTROLLER_CONFIG_H

#define COMMANDS {{ card.command_names | length }}
#define OUTPUTS {{ card.output_offset | length }}
#define OUTPUT_GROUPS {{ groups | length }} /* of outputs that are a point, or one alone */
#define GROUP_SIZE {{ groups | map("length") | max }}
#define OUTPUT_GROUP {{ '{' }}{{ group_of | join(', ') }}{{ '}' }}
#define OUTPUT_PLACE {{ '{' }}{{ place_of | join(', ') }}{{ '}' }}
{% if day.curves %}
#define CURVES {{ day.curves }} /* products of coordinates, of the largest point */
{% endif %}
#define GROUP_FEATURES {{ day.features | c_value }}
#define GROUP_CURVES {{ day.curved | c_value }}
#define GROUP_ERROR {{ day.errors | c_value }} /* of a free run, normalised */
#define SIGNALS {{ card.signal_names | length }}
#define SIGNAL_SLOTS {{ [card.signal_names | length, 1] | max }} /* C has no empty arrays */
#define MEMORIES {{ card.memory_columns }} /* slow means of the commands, beside the signals */
{% if card.memory_s %}
#define MEMORY_GAIN {{ '{' }}{{ card.memory_gains().tolist() | map("c_floats") | join(', ') }}{{ '}' }}
{% endif %}
#define SIGNAL_MODEL {{ (signal_model is not none) | int }} /* of what the signals should be */
#define SIGNAL_UNITS {{ (signal_model.hidden if signal_model is not none else []) | length }}
#define SIGNAL_DOUBT {{ (doubt is not none) | int }} /* those that lie are found and left out */
#define OBSERVER {{ (observer is not none) | int }} /* they correct the network's outputs */
#define INPUT_LAGS {{ card.input_lags }}
#define OUTPUT_LAGS {{ card.output_lags }}
#define INPUT_DELAY {{ card.input_delay }}
#define CONTROL_RATE_HZ {{ card.rate_hz | c_floats }}
#define REFERENCE_POINTS {{ settings.trajectory_points }} /* streamed ahead, or of a trajectory */
#define TELEMETRY_EVERY {{ telemetry_every }}u /* samples: what the host's line has room for */

#define SENSOR {{ sensor.kind }}
#define SENSOR_HEADER "instruments/{{ sensor.kind }}.h"
#define SENSOR_BAUD {{ sensor.baud }}u
#define SENSOR_CHANNELS {{ card.robot.signals | length }}
#define SENSOR_SLOTS {{ [card.robot.signals | length, 1] | max }}
#define ACTUATOR {{ actuators.kind }}
#define ACTUATOR_HEADER "instruments/{{ actuators.kind }}.h"
#define ACTUATOR_BAUD {{ actuators.baud }}u
{% if actuators.kind == "dynamixel" %}
#define ACTUATOR_HALF_DUPLEX 1
{% endif %}

#define FRAME_CONTENT_MAX {{ content_max }} /* bytes: room for the longest message */

#define HORIZON {{ settings.horizon }}
#define CONTROL_HORIZON {{ settings.control_horizon }}
#define FIRST_COST_STAGE {{ first_cost_stage }}
#define MPC_ITERATIONS {{ settings.iterations }}
#define LINE_SEARCH_TRIALS {{ settings.line_search_trials }}
#define TAIL_CONTINUES {{ settings.tail_continues | int }}
#define MPC_METHOD MPC_{{ settings.method | upper }}
{% if settings.method == "soloway" %}
#define BARRIER {{ settings.barrier | c_floats }}
{% endif %}
#define STEP_BUDGET_US {{ budget_us }}u

#endif
