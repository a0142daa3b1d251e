/* Units, bounds and weights of one controller, written by soft_control.firmware_build. Do not edit.
   Robot: {{ card.rig | comment }}.
   Commands: {{ card.command_names | map("comment") | join(", ") }}.
   Signals: {{ card.signal_names | map("comment") | join(", ") or "none" }}. */
#include <math.h>

#include "loop/control_loop.h"
#include "supply/image.h"
#include "fk.h"

/* image_header.py writes size and crc. */
const image_header_t image_header __attribute__((section(".image_header"), used)) = {
    .magic = IMAGE_MAGIC,
    .version = 1u,
    .board = IMAGE_BOARD,
    .model_hash = FK_MODEL_HASH,
    .settings_hash = "{{ settings_hash }}",
    .build_id = "{{ build_id }}",
};

const controller_config_t controller_config = {
    .units = {
        .command_offset = {{ card.command_offset | c_floats }},
        .command_scale = {{ card.command_scale | c_floats }},
        .output_offset = {{ card.output_offset | c_floats }},
        .output_scale = {{ card.output_scale | c_floats }},
    },
    .signal_offset = {{ signal_offset | c_floats }},
    .signal_scale = {{ signal_scale | c_floats }},
{% if signal_model is not none %}
    .signal_model = {
        .hidden = {
{% for row in signal_model.hidden %}
            {{ row | c_floats }},
{% endfor %}
        },
        .weights = {
{% for row in signal_model.weights %}
            {{ row | c_floats }},
{% endfor %}
        },
    },
{% endif %}
{% if observer is not none %}
    .observer = {
        .keep = {{ observer.keep | c_floats }},
        .renewed = {
{% for row in observer.renewed.tolist() %}
            {{ row | c_floats }},
{% endfor %}
        },
        .noise = {{ observer.noise.tolist() | c_floats }},
    },
{% endif %}
{% if doubt is not none %}
    .doubt = {
        .per_gate = {{ doubt.per_gate.tolist() | c_floats }},
        .others = {
{% for row in doubt.others.tolist() %}
            {{ row | c_floats }},
{% endfor %}
        },
        .slack = {{ doubt.slack.tolist() | c_floats }},
        .per_sum = {{ doubt.per_sum.tolist() | c_floats }},
        .low = {{ doubt.low.tolist() | c_floats }},
        .high = {{ doubt.high.tolist() | c_floats }},
        .still_max = {{ doubt.still_max | c_value }},
        .agreeing_samples = {{ doubt.agreeing_samples }}u,
        .settled_samples = {{ doubt.settled_samples }}u,
    },
{% endif %}
    .settings = {
{% for name, values in physical.items() %}
        .{{ name }} = {{ values | c_floats }},
{% endfor %}
    },
    .limits = {
{% for name, values in limits.items() %}
        .{{ name }} = {{ values | c_value }},
{% endfor %}
    },
    .signal_channel = {{ signal_channel | c_value }},
    .full_scale_counts = {{ full_scale_counts | c_value }},
    .sensor = {
{% for name, values in sensor_config.items() %}
        .{{ name }} = {{ values | c_value }},
{% endfor %}
    },
    .actuator = {
{% for name, values in actuator_config.items() %}
        .{{ name }} = {{ values | c_value }},
{% endfor %}
    },
    .model_hash = FK_MODEL_HASH,
    .build_id = "{{ build_id }}",
};
