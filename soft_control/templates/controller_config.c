/* Units, bounds and weights of one controller, written by soft_control.firmware_build. Do not edit.
   Commands: {{ card.command_names | join(", ") }}. Signals: {{ card.signal_names | join(", ") or "none" }}. */
#include <math.h>

#include "loop/control_loop.h"
#include "fk.h"

const controller_config_t controller_config = {
    .units = {
        .command_offset = {{ card.command_offset | f32_array }},
        .command_scale = {{ card.command_scale | f32_array }},
        .output_offset = {{ card.output_offset | f32_array }},
        .output_scale = {{ card.output_scale | f32 }},
    },
    .signal_offset = {{ signal_offset | f32_array }},
    .signal_scale = {{ signal_scale | f32_array }},
{% if signal_map is not none %}
    .signal_map = {
{% for row in signal_map.weights %}
        {{ row | f32_array }},
{% endfor %}
    },
    .signal_trust = {{ signal_trust | f32_array }},
{% endif %}
    .settings = {
{% for name, values in physical.items() %}
        .{{ name }} = {{ values | f32_value }},
{% endfor %}
    },
    .model_hash = FK_MODEL_HASH,
    .build_id = "{{ build_id }}",
};
