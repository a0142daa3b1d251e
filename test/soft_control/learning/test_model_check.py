from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soft_control.experiment.closed_loop import record
from soft_control.learning.model_check import HORIZONS, Units, _layers, check, reasons


@pytest.fixture(scope="module")
def recording():
    return record("tendon", seed=900, duration_s=10.0, rate_hz=120.0)


@pytest.fixture(scope="module")
def report(tendon_model, recording):
    return check(tendon_model.model, [recording])


def test_a_trained_model_is_fit(report):
    assert report.fit and report.unfit == []
    assert report.c_agrees and report.step_error < 1e-5 and report.jacobian_error < 5e-5
    assert [r.samples for r in report.rollouts] == list(HORIZONS)
    assert all(r.live < r.standing_still for r in report.rollouts[2:])
    assert 0.0 < report.spectral_radius_median <= report.spectral_radius_max
    assert report.free_runs[0].error < 0.5 * report.free_runs[0].spread


def test_a_model_of_another_rig_is_unfit(tendon_model, recording):
    """The same model against recordings in which the tip goes the other way."""
    mirrored = replace(recording, outputs=-recording.outputs)
    found = check(tendon_model.model, [mirrored])
    said = "; ".join(found.unfit)
    assert "the free run of tip is off" in said
    assert "no better than standing still" in said
    assert "point the wrong way" in said
    assert found.gain_signs_agree == 0.0


def test_each_reason_has_its_sentence(report):
    idle = Units(layer="hidden_0", activation="relu", units=4, idle=[0, 1, 2])
    broken = report.model_copy(
        update={"c_agrees": False, "layers": [idle], "spectral_radius_median": 1.2}
    )
    said = reasons(broken)
    assert any("compiled C differs" in sentence for sentence in said)
    assert any(sentence == "3 of 4 units of hidden_0 do nothing" for sentence in said)
    assert any("spectral radius 1.200" in sentence for sentence in said)
    lost = report.free_runs[0].model_copy(update={"error": float("nan")})
    nan = report.model_copy(update={"free_runs": [lost]})
    assert any("the free run of tip is off by nan" in sentence for sentence in reasons(nan))


def test_units_that_do_nothing_are_found(tmp_path: Path):
    """A relu that is never active and a tanh that is always at its end, beside live ones."""
    keras = pytest.importorskip("keras", reason="the test network is made with Keras")
    from nn4mc_codegen.importers import read_model

    x = keras.Input((2,), name="x")
    first = keras.layers.Dense(3, activation="relu", name="first")
    second = keras.layers.Dense(3, activation="tanh", name="second")
    model = keras.Model(x, second(first(x)))
    first.set_weights([np.eye(2, 3, dtype="f4"), np.array([0, 0, -1], "f4")])
    second.set_weights([np.eye(3, dtype="f4"), np.array([0, 9, 0], "f4")])
    model.save(tmp_path / "net.keras")
    graph, _ = read_model(tmp_path / "net.keras")
    inputs = np.random.default_rng(0).normal(size=(200, 2))
    by_name = {layer.layer: layer for layer in _layers(graph, inputs)}
    assert by_name["first"].idle == [2] and by_name["first"].activation == "relu"
    assert by_name["second"].idle == [1] and by_name["second"].units == 3


def test_the_command_says_fit_in_json_and_unfit_by_its_exit_code(tendon_model, tmp_path: Path):
    command = [sys.executable, "-m", "soft_control.cli", "check-model", str(tendon_model.model)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["unfit"] == []
    # A recording of a rig that does not move as commanded.
    rows = ["t_s,u0_deg,u1_deg,lace_00,lace_05,lace_06,lace_10,x_m,y_m,z_m"]
    rng = np.random.default_rng(0)
    for k in range(600):
        u = 40 * np.sin(k / 30)
        z = 0.01 * np.sin(k / 7) + 1e-4 * rng.normal()
        rows.append(
            f"{k / 120:.6f},{u:.3f},{-u:.3f},0.5,0.5,0.5,{0.5 + 0.01 * z},0,{z:.6f},{z:.6f}"
        )
    path = tmp_path / "other.csv"
    path.write_text("\n".join(rows) + "\n")
    done = subprocess.run([*command, "--recording", str(path)], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "UNFIT" in done.stdout
