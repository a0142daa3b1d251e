from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from soft_control.learning.settings import TrainingSettings, described_settings
from soft_control.robots.description import Command, RobotDescription, tip


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("rig", ["", "a b", "a/b", 3]),
        ("rate_hz", [0, -1, np.inf, np.nan, 1e9, "fast", None]),
        ("input_lags", [0, 10**9, 1.5]), ("output_lags", [0]), ("input_delay", [-1, 10**9]),
        ("hidden", [[], [0], [-3], [10**9], [[1]], [8] * 17, 16]),
        ("updates", [0, 10**18]), ("batch", [0, 10**12]), ("rollout_samples", [0, 10**12]),
        ("learning_rate", [0, -1, np.inf, np.nan]), ("difference_gain", [-1, np.inf, np.nan]),
        ("clip", [0, np.inf, np.nan]), ("reset_share", [-0.1, 1.1, np.nan]),
        ("held_share", [1.1, np.nan]), ("seed", [-1, 2**63]), ("surplus", [1]),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(field, values):
    for value in values:
        with pytest.raises(ValidationError, match=field):
            TrainingSettings(**{field: value})


def test_updates_that_no_memory_holds_are_refused():
    TrainingSettings(batch=10**5, rollout_samples=10)
    with pytest.raises(ValidationError, match="batch = 100000 times rollout_samples = 11"):
        TrainingSettings(batch=10**5, rollout_samples=11)


def robot(**training: object) -> RobotDescription:
    bend = Command(name="bend", unit="rad", min=-1.0, max=1.0)
    return RobotDescription(
        name="arm", commands=(bend,), outputs=tip(), rate_hz=50.0, training=training
    )


def test_a_description_says_how_its_networks_are_trained():
    asked = described_settings(robot(hidden=[24], input_delay=2), "arm.yaml")
    assert (asked.hidden, asked.input_delay, asked.rate_hz) == ((24,), 2, 50.0)
    assert asked.updates == TrainingSettings().updates


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"hidden": []}, "arm.yaml: training.hidden = "),
        ({"rate_hz": 100.0}, "arm.yaml: training.rate_hz: the description says it itself"),
        ({"rig": "arm"}, "arm.yaml: training.rig: the description says it itself"),
        ({"units": 3}, "arm.yaml: training.units = 3: "),
        ({"batch": 10**5}, "arm.yaml: training.batch = 100000 times"),
    ],
)
def test_what_a_description_wants_wrongly_is_named(training: dict, said: str):
    with pytest.raises(ValueError) as refused:
        described_settings(robot(**training), "arm.yaml")
    assert str(refused.value).startswith(said) and "\n" not in str(refused.value)
