from __future__ import annotations

import warnings

import numpy as np
import pytest

from soft_control import robots
from soft_control.learning.dataset import (
    Recording,
    RecordingError,
    RecordingWarning,
    hold_out,
    live_signals,
    read_recordings,
    resample,
    split_tail,
    windows,
)


def recording(samples: int = 30, rate_hz: float = 100.0, **changes) -> Recording:
    rng = np.random.default_rng(0)
    fields = {
        "source": "run",
        "t_s": np.arange(samples) / rate_hz,
        "commands": rng.normal(size=(samples, 2)),
        "outputs": rng.normal(size=(samples, 3)),
        "signals": rng.normal(size=(samples, 2)),
        "reference": None,
        "command_names": ("servo_0", "servo_1"),
        "output_names": ("x", "y", "z"),
        "signal_names": ("lace_00", "lace_01"),
    }
    return Recording(**(fields | changes))


def test_a_directory_without_a_bag_says_what_to_name(tmp_path):
    (tmp_path / "run.csv").write_text("t")
    with pytest.raises(RecordingError, match="no bag in this directory; name CSV files"):
        read_recordings([tmp_path])


def test_recorded_runs_are_read_without_a_warning(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runs = read_recordings([shared_data / "tendon_rig"], robots.load("tendon_recorded"))
    assert [len(run) for run in runs] == [1000] + [2000] * 7 + [5000] * 2


# ------------------------------------------------------------------------------- grid and windows


def test_a_recording_on_the_grid_is_not_touched():
    run = recording()
    assert resample(run, 100.0) is run


def test_resampling_holds_commands_and_interpolates_positions():
    irregular = np.array([3.0, 3.004, 3.011, 3.029])
    run = recording(4, t_s=irregular)
    with pytest.warns(RecordingWarning, match="bridged"):
        on_grid = resample(run, 100.0)
    np.testing.assert_allclose(on_grid.t_s, [3.0, 3.01, 3.02])
    np.testing.assert_array_equal(on_grid.commands, run.commands[[0, 1, 2]])
    np.testing.assert_array_equal(on_grid.signals, run.signals[[0, 1, 2]])
    np.testing.assert_allclose(on_grid.outputs[1], (run.outputs[1] + 6 * run.outputs[2]) / 7)


def test_the_tail_of_a_recording_is_its_last_share_of_time():
    """30 samples of 10 ms are 0.29 s; the last 30 % of it begin at 0.203 s, at the sample 21."""
    run = recording()
    head, tail = split_tail(run, 0.3)
    assert (len(head), len(tail)) == (21, 9)
    assert np.array_equal(np.vstack([head.outputs, tail.outputs]), run.outputs)
    assert head.source.endswith(", 0 to 0.2 s") and tail.source.endswith(", 0.21 to 0.29 s")


def test_what_is_held_out_is_the_last_recording_or_the_end_of_a_single_one():
    run, other = recording(), recording(10)
    learned, judged = hold_out([run, other], 0.3)
    assert learned[0] is run and judged[0] is other
    (head,), (tail,) = hold_out([run], 0.3)
    assert (len(head), len(tail)) == (21, 9)
    assert hold_out([run], 0.0) == ([run], [])


def test_segments_stay_apart_where_a_tail_is_split_off():
    run = recording().rows(np.arange(30), starts=(0, 10, 25))
    head, tail = split_tail(run, 0.3)
    assert (head.starts, tail.starts) == ((0, 10), (0, 4))
    with pytest.raises(RecordingError, match="too short to hold out 10 % of its 9 rows"):
        split_tail(run.rows(np.arange(9)), 0.1)


def test_a_dropped_sample_is_bridged():
    run = recording(10)
    kept = np.delete(np.arange(10), 4)
    gap = recording(9, t_s=run.t_s[kept], outputs=run.outputs[kept], commands=run.commands[kept])
    with pytest.warns(RecordingWarning, match=r"1 step of up to 0\.02 s.* bridged by straight"):
        bridged = resample(gap, 100.0)
    assert len(bridged) == 10
    np.testing.assert_allclose(bridged.outputs[4], (run.outputs[3] + run.outputs[5]) / 2)
    np.testing.assert_array_equal(bridged.commands[4], run.commands[3])


# --------------------------------------------------------------------------------------------- gaps


def with_gap(samples: int = 30, rate_hz: float = 100.0, lost: slice = slice(10, 20)) -> Recording:
    kept = np.delete(np.arange(samples), lost)
    return recording(samples, rate_hz).rows(kept)


def test_nothing_is_put_into_a_gap():
    """Ten samples are lost: 20 remain, each segment on its own grid, none of them made up."""
    run = with_gap()
    with pytest.warns(RecordingWarning, match=r"run: 1 gap, the longest 0\.11 s after t = 0\.09 s"):
        cut = resample(run, 100.0)
    assert cut.starts == (0, 10) and cut.bounds == [(0, 10), (10, 20)]
    for field in ("commands", "outputs", "signals"):
        # On the grid but for rounding, so interpolated.
        np.testing.assert_allclose(getattr(cut, field), getattr(run, field), rtol=1e-9)
    assert cut.on_grid(100.0)
    assert resample(cut, 100.0) is cut
    first, second = cut.segments()
    assert (len(first), len(second)) == (10, 10)
    np.testing.assert_allclose(second.t_s[0], 0.2)


def test_a_gap_stays_one_at_another_rate():
    """At 200 Hz there are two samples to one, and still none in the gap."""
    with pytest.warns(RecordingWarning, match="1 gap"):
        cut = resample(with_gap(), 100.0)
    with pytest.warns(RecordingWarning, match="1 gap"):
        fine = resample(cut, 200.0)
    assert fine.starts == (0, 19) and len(fine) == 38


def test_steps_of_less_than_a_control_period_are_no_gaps():
    """A logger at 1 kHz that stops for 8 ms: nothing is missing at 100 Hz."""
    run = with_gap(300, 1000.0, slice(100, 107))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resample(run, 100.0).starts == (0,)


def test_short_segments_are_left_out_with_a_word_and_all_short_is_an_error():
    run = with_gap(30, lost=slice(5, 20))
    with pytest.warns(RecordingWarning, match="1 segment of fewer than 8 samples left out, 5 samp"):
        cut = resample(run, 100.0, shortest=8)
    assert len(cut) == 10 and cut.starts == (0,)
    np.testing.assert_allclose(cut.outputs, run.outputs[5:], rtol=1e-9)
    with pytest.raises(RecordingError, match="run: too short: 10 samples at 100 Hz .*, 12 are nee"):
        resample(run, 100.0, shortest=12)


def test_a_grid_that_would_be_made_up_is_refused_before_it_is_made():
    """120 Hz with its stamps in microseconds would be 1.2e11 samples."""
    run = recording(120, 120e-6)
    with pytest.raises(RecordingError, match="recorded at 0.00012 Hz, the control rate is 120 Hz"):
        resample(run, 120.0)


def test_no_window_reaches_over_a_gap():
    with pytest.warns(RecordingWarning, match="1 gap"):
        cut = resample(with_gap(), 100.0)
    x, y, k = windows(cut, 3, 2, 1)
    first, second = (windows(part, 3, 2, 1) for part in cut.segments())
    np.testing.assert_array_equal(x, np.vstack([first[0], second[0]]))
    np.testing.assert_array_equal(y, np.vstack([first[1], second[1]]))
    np.testing.assert_array_equal(k, np.concatenate([first[2], second[2] + 10]))


def test_windows_take_commands_by_name():
    run = recording()
    swapped = recording(commands=run.commands[:, ::-1], command_names=("servo_1", "servo_0"))
    names = ("servo_0", "servo_1")
    for one, other in zip(
        windows(run, 2, 2, 1, command_names=names),
        windows(swapped, 2, 2, 1, command_names=names),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("nd", "dd", "d"), [(1, 1, 0), (3, 3, 5), (2, 4, 0), (4, 1, 2)])
def test_windows_are_those_of_the_obvious_loop(nd, dd, d):
    run = recording()
    x, y, newest = windows(run, nd, dd, d, ["lace_01"])
    rows, labels = [], []
    for k in range(len(run) - 1):
        if k - d - nd + 1 < 0 or k - dd + 1 < 0:
            continue
        row = [run.commands[k - d - lag] for lag in range(nd)]
        row += [run.outputs[k - lag] for lag in range(dd)]
        row += [run.signals[k, 1:]]
        rows.append(np.concatenate(row))
        labels.append(run.outputs[k + 1])
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
