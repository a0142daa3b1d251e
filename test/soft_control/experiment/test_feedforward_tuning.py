"""Leads and gains are found by trial runs that the laws themselves repeat."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

pytest.importorskip("optuna", reason="tuning needs optuna: pip install soft_control")

from soft_control.control.static_inverse import StaticInverseConfig  # noqa: E402
from soft_control.experiment.closed_loop import (  # noqa: E402
    PidFeedforwardController,
    StaticInverseController,
    run,
)
from soft_control.experiment.feedforward_tuning import forwards  # noqa: E402
from soft_control.experiment.settings import Experiment  # noqa: E402
from soft_control.experiment.setup import reference_curve  # noqa: E402
from soft_control.experiment.tuning import TUNING_GAINS, pid_config, rmse, tune  # noqa: E402
from soft_control.learning.model import load_model  # noqa: E402
from soft_control.learning.rest import resting_network  # noqa: E402
from soft_control.rigs import make_rig  # noqa: E402


def law(model, lead_s: float) -> StaticInverseConfig:
    robot = model.card.robot
    network = resting_network(load_model(model.model))
    return StaticInverseConfig(network, robot.command_min, robot.command_max, lead_s)


def followed(model) -> list:
    shapes = ("figure_eight", "fixed")
    curves = [reference_curve(Experiment(rig="tendon", reference=s), model.card) for s in shapes]
    return [(curve.values, 4.0) for curve in curves]


def test_tuned_gains_and_lead_score_the_same_when_the_law_runs_itself(tendon_model, tmp_path):
    """Trials take commands from a table: straight lines between the samples' commands."""
    path = tmp_path / "found.yaml"
    found, _ = tune("pid_feedforward", tendon_model.model, "figure_eight", 4.0, 2, 0, path)
    head, *_ = path.read_text().partition("pid_feedforward:")
    assert "figure_eight and a step" in head and "2 trials" in head and "rad over m" in head
    read = yaml.safe_load(path.read_text())["pid_feedforward"]["ros__parameters"]
    assert read["preview"] == 30 and 0.0 <= read["lead_s"] <= 0.25
    scores = []
    for gain in TUNING_GAINS:
        rig = make_rig("tendon", seed=0, gain=gain)
        for wanted, length_s in followed(tendon_model):
            inverse = StaticInverseController(law(tendon_model, read["lead_s"]), 120.0)
            controller = PidFeedforwardController(pid_config(read, rig), inverse, 120.0)
            scores.append(rmse(run(rig, controller, wanted, 120.0, length_s)))
    # Servos have 0.29 degrees a count: a command that differs by 1e-6 may be the next one.
    assert np.mean(scores) == pytest.approx(found.score, abs=0.02)


def test_the_lead_of_the_static_inverse_is_found_on_the_nominal_rig(tendon_model, tmp_path):
    path = tmp_path / "found.yaml"
    seen = []
    found, _ = tune(
        *("static_inverse", tendon_model.model, "figure_eight", 4.0, 6, 0, path),
        progress=lambda made, best: seen.append(best),
    )
    assert "rigs whose gain is 1 times" in path.read_text()
    read = yaml.safe_load(path.read_text())["static_inverse"]["ros__parameters"]
    rig = make_rig("tendon", seed=0)
    scores = [
        rmse(
            run(
                rig,
                StaticInverseController(law(tendon_model, read["lead_s"]), 120.0),
                wanted,
                120.0,
                length_s,
            )
        )
        for wanted, length_s in followed(tendon_model)
    ]
    assert np.mean(scores) == pytest.approx(found.score, abs=0.02)
    assert found.score == seen[-1] <= seen[0]


def test_the_table_is_the_law_between_its_samples(tendon_model):
    """1e-4 rad: what the bend of the commands within a sample is worth."""
    (wanted, length_s), _ = followed(tendon_model)
    (table, *_) = forwards(tendon_model.card, tendon_model.model, [(wanted, length_s)])
    told, own = (
        table.with_lead(0.1037, 120.0),
        StaticInverseController(law(tendon_model, 0.1037), 120.0),
    )
    assert told.preview == own.preview == 13
    for k in range(0, 200):
        ahead = wanted(np.arange(k, k + own.preview + 1) / 120.0)
        np.testing.assert_allclose(
            told.step(None, None, ahead), own.step(None, None, ahead), atol=1e-4
        )
