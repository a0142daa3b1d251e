from __future__ import annotations

import warnings

import numpy as np
import pytest

from soft_control import robots
from soft_control.learning.card import ModelCard, ModelError
from soft_control.learning.dataset import Recording, RecordingError, RecordingWarning
from soft_control.learning.suitability import check_frames, suited, trained_on


def recording(samples: int = 50, **changes) -> Recording:
    """Two commands of ±1 and ±2 rad, a tip within 40 mm, a signal between 0 and 1."""
    wave = np.sin(np.linspace(0, 2 * np.pi, samples))
    fields = {
        "source": "run",
        "t_s": np.arange(samples) / 100.0,
        "commands": np.column_stack([wave, -2 * wave]),
        "outputs": 0.02 * np.column_stack([wave, 0 * wave, -wave]),
        "signals": np.column_stack([0.5 + 0.5 * wave, wave]),
        "reference": None,
        "command_names": ("servo_0", "servo_1"),
        "output_names": ("x", "y", "z"),
        "signal_names": ("lace_00", "lace_01"),
        "frame": "rig_base",
    }
    return Recording(**(fields | changes))


@pytest.fixture
def card() -> ModelCard:
    """Of a model that was trained on `recording`, and sees its first signal."""
    robot = robots.load("tendon")
    return ModelCard(
        robot=robot,
        rate_hz=100.0,
        input_lags=2,
        output_lags=2,
        input_delay=1,
        command_names=["servo_0", "servo_1"],
        command_offset=[0.0, 0.0],
        command_scale=[1.0, 2.0],
        output_names=["x", "y", "z"],
        output_offset=[0.0] * 3,
        output_scale=[0.01] * 3,
        signal_names=["lace_00"],
        signal_offset=[0.5],
        signal_scale=[0.3],
        surface=None,
        trained=trained_on([recording()], robot, ["lace_00"]),
        metrics=[],
        evaluated_on=[],
        recordings=["run"],
        model_hash="",
    )


def test_ranges_and_frame_of_the_training_are_stored(card):
    run = recording()
    assert card.trained.frame == "rig_base"
    for ranges, values in (
        (card.trained.commands, run.commands),
        (card.trained.outputs, run.outputs),
        (card.trained.signals, run.signals[:, :1]),
    ):
        np.testing.assert_array_equal(ranges, np.array([values.min(axis=0), values.max(axis=0)]).T)


def test_what_the_training_had_suits_without_a_word(card):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = suited(card, recording())
        suited(card.model_copy(update={"trained": None}), recording(frame="world"))
    assert len(run) == 50


def test_commands_are_put_in_the_order_of_the_card(card):
    run = recording()
    swapped = recording(commands=run.commands[:, ::-1], command_names=("servo_1", "servo_0"))
    found = suited(card, swapped)
    assert found.command_names == ("servo_0", "servo_1")
    np.testing.assert_array_equal(found.commands, run.commands)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"commands": recording().commands * [1.5, 1.0]},
            r"command beyond .*: servo_0, deg -\d+\.\d+ to \d+\.\d+ "
            r"\(trained on -5[67]\.\d* to 5[67]",
        ),
        (
            {"outputs": recording().outputs + [0, 0, 0.05]},
            r"output beyond .*: z, mm 3\d\.\d* to \d+\.\d+ \(trained on -",
        ),
        (
            {"outputs": recording().outputs + [0, 0.01, 0]},
            r"output beyond .*: y, mm 10 to 10 \(trained on 0 to 0",
        ),
        ({"signals": recording().signals * 44}, r"signal beyond .*: lace_00 0\.0\d* to 4"),
        ({"frame": "world"}, "points in frame world, the model was trained in rig_base"),
    ],
)
def test_what_the_training_had_not_is_named_with_its_numbers(card, changes, said):
    with pytest.warns(RecordingWarning, match=f"run: {said}"):
        suited(card, recording(**changes))


def test_a_little_beyond_is_no_news(card):
    run = recording()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        suited(card, recording(commands=1.1 * run.commands, outputs=1.1 * run.outputs))


def test_millimetres_are_refused(card):
    with pytest.raises(ModelError, match=r"run: [xz] reaches -?\d.* m, .* in another unit\?"):
        suited(card, recording(outputs=1e3 * recording().outputs))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"command_names": ("a", "servo_1")}, "run: no command servo_0; it has a, servo_1"),
        ({"signal_names": ("a", "b")}, "run: no signal lace_00; it has a, b"),
        (
            {"signals": np.zeros((50, 0)), "signal_names": ()},
            "no signal lace_00; it has no signals",
        ),
    ],
)
def test_what_is_missing_is_named(card, changes, said):
    with pytest.raises(RecordingError, match=said):
        suited(card, recording(**changes))


def test_a_file_too_short_is_refused_by_number(card):
    with pytest.raises(RecordingError, match="too short: 3 samples at 100 Hz .*, 4 are needed"):
        suited(card, recording(3))


def test_runs_in_different_frames_are_refused():
    check_frames([recording(), recording(frame=None)])
    with pytest.raises(RecordingError, match=r"rig_base \(run\), world \(other\)"):
        check_frames([recording(), recording(source="other", frame="world")])


def test_outputs_in_another_order_are_put_in_the_order_of_the_card(card):
    run = recording()
    turned = recording(outputs=run.outputs[:, ::-1], output_names=run.output_names[::-1])
    np.testing.assert_array_equal(suited(card, turned).outputs, run.outputs)
    with pytest.raises(RecordingError, match="run: no output z; it has x, y, w"):
        suited(card, recording(output_names=("x", "y", "w")))
