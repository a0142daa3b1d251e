from __future__ import annotations

import numpy as np
import pytest

from soft_control.learning.recording import Recording, RecordingError, natural


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


def test_unequal_lengths_are_an_error():
    with pytest.raises(RecordingError, match="run: unequal lengths: t_s 30, commands 29"):
        recording(commands=np.zeros((29, 2)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"command_names": ("a",)}, r"commands of shape \(30, 2\), but 1 names"),
        ({"signal_names": ("a", "a")}, "signal a is there more than once"),
        ({"command_names": ("a", "x */")}, None),
        ({"command_names": ("a", "b\n")}, "printable"),
        ({"t_s": np.zeros(30)}, "do not increase"),
        ({"starts": (1,)}, "segments start at"),
        ({"starts": (0, 30)}, "segments start at"),
    ],
)
def test_columns_that_do_not_fit_make_no_recording(changes, said):
    if said is None:
        recording(**changes)
        return
    with pytest.raises(RecordingError, match=said):
        recording(**changes)


def test_columns_are_asked_for_by_name():
    run = recording()
    np.testing.assert_array_equal(run.command(["servo_1", "servo_0"]), run.commands[:, ::-1])
    np.testing.assert_array_equal(run.signal(["lace_01"]), run.signals[:, 1:])
    assert run.signal([]).shape == (30, 0)
    with pytest.raises(RecordingError, match="run: no command yaw; it has servo_0, servo_1"):
        run.command(["yaw", "servo_0"])


def test_segments_are_the_rows_between_their_starts():
    run = recording(starts=(0, 10, 12))
    assert run.bounds == [(0, 10), (10, 12), (12, 30)]
    parts = list(run.segments())
    assert [len(part) for part in parts] == [10, 2, 18]
    np.testing.assert_array_equal(np.vstack([part.outputs for part in parts]), run.outputs)
    assert all(part.starts == (0,) for part in parts)


def test_numbers_in_names_are_ordered_as_numbers():
    names = ["servo_10", "servo_2", "arm_9_b", "arm_9_a", "arm_10_a", "", "7", "x" + "9" * 40]
    found = sorted(names, key=natural)
    assert found[:2] == ["", "7"]
    assert found[2:7] == ["arm_9_a", "arm_9_b", "arm_10_a", "servo_2", "servo_10"]
