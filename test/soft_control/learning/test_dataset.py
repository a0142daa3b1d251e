from __future__ import annotations

import warnings

import numpy as np
import pytest

from soft_control.learning.dataset import (
    Recording,
    RecordingError,
    RecordingWarning,
    live_signals,
    read_recording,
    resample,
    windows,
)


def recording(samples: int = 30, rate_hz: float = 100.0, **changes) -> Recording:
    rng = np.random.default_rng(0)
    fields = {
        "source": "run",
        "t_s": np.arange(samples) / rate_hz,
        "commands": rng.normal(size=(samples, 2)),
        "position": rng.normal(size=(samples, 3)),
        "signals": rng.normal(size=(samples, 2)),
        "reference": None,
        "command_names": ("servo_0", "servo_1"),
        "signal_names": ("lace_00", "lace_01"),
    }
    return Recording(**(fields | changes))


def test_unequal_lengths_are_an_error():
    with pytest.raises(RecordingError, match="run: unequal lengths: t_s 30, commands 29"):
        recording(commands=np.zeros((29, 2)))


def test_recorded_runs_are_read_without_a_warning(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runs = [read_recording(path) for path in sorted((shared_data / "tendon_rig").glob("*.csv"))]
    assert [len(run) for run in runs] == [1000] + [2000] * 7 + [5000] * 2


# ------------------------------------------------------------------------------- grid and windows


def test_a_recording_on_the_grid_is_not_touched():
    run = recording()
    assert resample(run, 100.0) is run


def test_resampling_holds_commands_and_interpolates_positions():
    irregular = np.array([3.0, 3.004, 3.011, 3.029])
    run = recording(4, t_s=irregular)
    on_grid = resample(run, 100.0)
    np.testing.assert_allclose(on_grid.t_s, [3.0, 3.01, 3.02])
    np.testing.assert_array_equal(on_grid.commands, run.commands[[0, 1, 2]])
    np.testing.assert_array_equal(on_grid.signals, run.signals[[0, 1, 2]])
    np.testing.assert_allclose(on_grid.position[1], (run.position[1] + 6 * run.position[2]) / 7)


def test_a_dropped_sample_is_bridged():
    run = recording(10)
    kept = np.delete(np.arange(10), 4)
    gap = recording(9, t_s=run.t_s[kept], position=run.position[kept], commands=run.commands[kept])
    bridged = resample(gap, 100.0)
    assert len(bridged) == 10
    np.testing.assert_allclose(bridged.position[4], (run.position[3] + run.position[5]) / 2)
    np.testing.assert_array_equal(bridged.commands[4], run.commands[3])


@pytest.mark.parametrize(("nd", "dd", "d"), [(1, 1, 0), (3, 3, 5), (2, 4, 0), (4, 1, 2)])
def test_windows_are_those_of_the_obvious_loop(nd, dd, d):
    run = recording()
    x, y, newest = windows(run, nd, dd, d, ["lace_01"])
    rows, labels = [], []
    for k in range(len(run) - 1):
        if k - d - nd + 1 < 0 or k - dd + 1 < 0:
            continue
        row = [run.commands[k - d - lag] for lag in range(nd)]
        row += [run.position[k - lag] for lag in range(dd)]
        row += [run.signals[k, 1:]]
        rows.append(np.concatenate(row))
        labels.append(run.position[k + 1])
        assert k == newest[len(rows) - 1]
    np.testing.assert_array_equal(x, rows)
    np.testing.assert_array_equal(y, labels)


def test_too_short_a_recording_has_no_window():
    with pytest.raises(RecordingError, match="run: 8 samples are too few"):
        windows(recording(8), 3, 3, 5)


def test_a_signal_that_is_not_there_is_named():
    with pytest.raises(RecordingError, match="run: no signal lace_07"):
        windows(recording(), 1, 1, 0, ["lace_07"])


def test_live_signals_vary_in_every_run():
    still = np.column_stack([np.arange(30.0), np.ones(30)])
    first, second = recording(), recording(source="second", signals=still)
    assert live_signals([first]) == ["lace_00", "lace_01"]
    with pytest.warns(RecordingWarning, match="second: constant, left out: signal lace_01"):
        assert live_signals([first, second]) == ["lace_00"]
