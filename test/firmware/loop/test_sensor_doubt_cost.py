"""What sensor_doubt.c and observer.c cost on the emulated Cortex-M4F, built small as there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nn4mc_codegen.trial.qemu import measure, missing_tools

SOURCES = Path(__file__).parents[3] / "firmware/src"
OUTPUTS, COMMANDS, UNITS = 3, 2, 20
PROGRAM = """
#include "loop/observer.h"
#include "loop/sensor_doubt.h"
#include "doubt.h"
static doubt_config_t config = {.agreeing_samples = 60, .settled_samples = 60};
#if OBSERVER
static observer_config_t observing = {.keep = 0.97f};
#endif
static signal_model_t model;
static doubt_state_t state;
static observer_t observer;
static int begun;
static uint32_t bits = 1u;
static float some(void)
{
    bits = bits * 1664525u + 1013904223u;
    return (float)(bits >> 8) * (1.0f / 8388608.0f) - 1.0f;
}
void doubt_begin(const float x[DOUBT_X], float y[1])
{
    for (int i = 0; i < SIGNAL_UNITS * (MODEL_INPUTS + 1); i++) {
        (&model.hidden[0][0])[i] = some();
    }
    for (int i = 0; i < SIGNALS * MODEL_FEATURES; i++) {
        (&model.weights[0][0])[i] = some();
    }
#if OBSERVER
    for (int i = 0; i < OUTPUTS; i++) {
        observing.renewed[i][i] = 0.01f;
    }
    for (int i = 0; i < SIGNALS; i++) {
        observing.noise[i] = 0.5f;
    }
#endif
    for (int i = 0; i < SIGNALS; i++) {
        config.per_gate[i] = 0.2f;
        config.slack[i] = 0.05f;
        config.per_sum[i] = 2.0f;
        config.low[i] = -3.0f;
        config.high[i] = 3.0f;
        config.still_max[i] = 35;
    }
    sensor_doubt_reset(&state);
    observer_reset(&observer);
    begun = 1;
    y[0] = x[0];
}
void doubt_step(const float x[DOUBT_X], float y[1])
{
    if (!begun) { /* the first sample costs more and is not counted */
        doubt_begin(x, y);
    }
    sensor_doubt_step(&config, &model, &state, x, x + SIGNALS, x + SIGNALS + OUTPUTS);
#if OBSERVER
    observer_step(&observing, &model, &observer, state.doubted, x, x + SIGNALS,
                  x + SIGNALS + OUTPUTS);
#endif
    y[0] = 0.0f;
    for (int i = 0; i < SIGNALS; i++) {
        y[0] += state.doubted[i] ? 1.0f : 0.0f;
    }
}
"""


def cost(folder: Path, signals: int, observer: bool) -> tuple[int, np.ndarray]:
    """Most instructions of a step and how many channels each was without, on samples of all kinds:
    numbers that agree and that do not, implausible ones, and ones that stand still."""
    width = signals + OUTPUTS + COMMANDS
    names = {
        "SIGNALS": signals, "SIGNAL_SLOTS": signals, "OUTPUTS": OUTPUTS, "COMMANDS": COMMANDS,
        "SIGNAL_DOUBT": 1, "SIGNAL_MODEL": 1, "SIGNAL_UNITS": UNITS, "OBSERVER": int(observer),
    }  # fmt: skip
    (folder / "controller_config.h").write_text(
        "#ifndef CONTROLLER_CONFIG_H\n#define CONTROLLER_CONFIG_H\n"
        + "".join(f"#define {name} {value}\n" for name, value in names.items())
        + "#endif\n"
    )
    (folder / "doubt.h").write_text(
        f"#define DOUBT_X {width}\nvoid doubt_step(const float x[{width}], float y[1]);\n"
    )
    (folder / "doubt.c").write_text(PROGRAM)
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (600, width))
    x[100:200, :signals] *= 5.0
    x[200:300, :signals] = 0.3
    x[300:400, 0] = np.nan
    names = ("loop/sensor_doubt.c", "loop/observer.c", "loop/signal_model.c", "solver/number.c")
    sources = [folder / "doubt.c", *(SOURCES / name for name in names)]
    flags = [f"-I{SOURCES}", f"-I{folder}", "-Os"]
    done = measure(folder, "doubt", x, sources=sources, flags=flags)
    return int(done.instructions_each[1:].max()), done.outputs["y"][:, 0]


@pytest.mark.skipif(missing_tools() is not None, reason="needs the emulator and its compiler")
@pytest.mark.parametrize(
    ("signals", "observer", "most"), [(4, False, 2_050), (18, False, 8_600), (4, True, 5_500)]
)
def test_a_step_costs_at_most(tmp_path, signals, observer, most):
    instructions, missing = cost(tmp_path, signals, observer)
    assert instructions <= most
    assert missing.min() == 0 and missing.max() == signals  # all ways were gone
