"""softctl train, adopt and check-model: what they ask of the rooms below, say, and return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from soft_control import paths
from soft_control.cli.terminal import FAILED, MISTAKEN
from soft_control.learning import adopting, dataset, model, model_check, training, twin
from soft_control.learning.card import Errors
from soft_control.robots.description import described


@dataclass(frozen=True)
class Run:
    """A recording that is nothing but its path."""

    path: Path
    robot: None = None


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Recordings are their paths, and no network is trained; returns what was asked for."""
    asked = []

    def train(recordings, validation, settings, out, progress):
        progress(training.Progress(stage="rollout", update=1, updates=2, loss=0.1))
        asked.append((recordings, validation, settings, out))
        errors = dict.fromkeys(("one_step", "ten_step_live", "ten_step_held"), 0.1)
        tip = Errors(
            group="tip", unit="mm", **errors, free_run=1.5, free_run_p95=2.0, free_run_max=3.0
        )
        return SimpleNamespace(
            metrics=[tip], evaluated_on=["a\x1b[2J"], model_hash="0123", sessions=[]
        )

    monkeypatch.setattr(dataset, "read_recordings", lambda paths, robot: [Run(p) for p in paths])
    monkeypatch.setattr(training, "train", train)
    return asked


def test_the_last_recording_validates_where_none_is_named(softctl, trained):
    ended = softctl("train", "a", "b", "c", "--out", "m", "--settings", '{"hidden": [16]}')
    assert ended.code == 0
    ((recordings, validation, settings, out),) = trained
    assert (recordings, validation) == ([Run(Path("a")), Run(Path("b"))], [Run(Path("c"))])
    assert settings.hidden == (16,) and settings.rate_hz == 120.0 and out == Path("m")
    assert "on a\\x1b[2J\n" in ended.out and all(
        said in ended.out for said in ("┃ tip, mm", "│ free run", "1.500")
    )
    assert ended.out.endswith("model 0123 in m\n")


def test_of_a_single_recording_the_end_validates(softctl, trained, monkeypatch):
    monkeypatch.setattr(dataset, "split_tail", lambda run, share: (run, f"last {share} of {run}"))
    a = Run(Path("a"))
    assert softctl("train", "a").code == 0
    assert softctl("train", "a", "--settings", '{"held_out_share": 0.3}').code == 0
    assert softctl("train", "a", "--settings", '{"held_out_share": 0}').code == 0
    assert softctl("train", "a", "--validation", "c").code == 0
    assert [asked[:2] for asked in trained] == [
        ([a], [f"last 0.1 of {a}"]), ([a], [f"last 0.3 of {a}"]), ([a], []), ([a], [Run(Path("c"))])
    ]  # fmt: skip


@pytest.mark.parametrize(("unfit", "code"), [([], 0), (["its gains point elsewhere"], FAILED)])
def test_adopt_says_whether_it_was_written(softctl, trained, monkeypatch, unfit, code):
    asked = []

    def take(network, recordings, validation, settings, out):
        asked.append((network, recordings, validation, settings.input_lags, out))
        facts = {"rollouts": [], "free_runs": [], "layers": [], "model_hash": "0123"}
        numbers = dict.fromkeys(
            ("step_error", "jacobian_error", "spectral_radius_median", "spectral_radius_max"), 0.5
        )
        report = SimpleNamespace(
            **facts, **numbers, gain_signs_agree=1.0, unfit=unfit, fit=not unfit
        )
        return SimpleNamespace(model_hash="0123"), report

    monkeypatch.setattr(adopting, "adopt", take)
    words = ("--recording", "a", "--recording", "b", "--out", "m")
    ended = softctl("adopt", "arm.onnx", *words, "--settings", '{"input_lags": 2}')
    assert ended.code == code
    a, b = Run(Path("a")), Run(Path("b"))
    assert asked == [(Path("arm.onnx"), [a], [b], 2, Path("m"))]
    assert ended.out.endswith("nothing written\n" if unfit else "model 0123 in m\n")


def test_a_description_says_how_to_train_and_settings_go_over_it(softctl, trained):
    """Its rate is the robot's; what is wrong in it is named with its file."""
    robot = {
        "rate_hz": 50.0,
        "commands": [{"name": "bend", "min": -1.0, "max": 1.0}],
        "outputs": [{"name": "angle", "unit": "rad"}],
        "training": {"hidden": [24], "updates": 9},
    }
    file = Path("arm.yaml")
    file.write_text(yaml.safe_dump(robot))
    given = ("train", "a", "b", "--robot", file, "--settings", '{"updates": 7}')
    assert softctl(*given).code == 0
    assert softctl(*given, "--rate-hz", "25").code == 0
    assert [(s.rate_hz, s.hidden, s.updates) for _, _, s, _ in trained] == [
        (50.0, (24,), 7), (25.0, (24,), 7)
    ]  # fmt: skip
    robot["training"] = {"hiden": [24]}
    file.write_text(yaml.safe_dump(robot))
    assert softctl(*given).mistake().startswith("arm.yaml: training.hiden = [24]: ")


@pytest.mark.parametrize("unfit", [[], ["its free run is unstable"]])
def test_a_network_that_is_unfit_is_exit_code_1(unfit, monkeypatch, softctl):
    found = model_check.ModelReport(
        model_hash="0123",
        recordings=["a"],
        step_error=1e-7,
        jacobian_error=1e-7,
        c_agrees=True,
        layers=[model_check.Units(layer="d\n1", activation="tanh", units=8, idle=[])],
        rollouts=[
            model_check.Rollout(
                samples=1, group="tip", unit="mm", live=0.1, held=0.1, standing_still=0.3
            )
        ],
        free_runs=[model_check.FreeRun(group="tip", unit="mm", error=1.0, spread=9.0)],
        spectral_radius_median=0.9,
        spectral_radius_max=0.99,
        gain_signs_agree=1.0,
        unfit=unfit,
    )
    card = SimpleNamespace(robot=None)
    monkeypatch.setattr(model, "load_card", lambda folder: card)
    monkeypatch.setattr(dataset, "read_recordings", lambda paths, robot: list(paths))
    monkeypatch.setattr(model_check, "check", lambda model, runs, seed: found)
    ended = softctl("check-model", "m", "--recording", "a")
    assert ended.code == (FAILED if unfit else 0) and ended.err == ""
    verdict = "UNFIT: its free run is unstable" if unfit else "fit for the MPC"
    assert ended.out.endswith(f"model 0123: {verdict}\n")
    assert "idle tanh units of d\\n1" in ended.out
    as_json = softctl("check-model", "m", "--recording", "a", "--json")
    assert model_check.ModelReport.model_validate_json(as_json.out) == found


def test_no_recording_is_a_mistake(softctl):
    assert softctl("check-model", "m", "--recording", "nowhere").code == MISTAKEN


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Recordings are their paths, and no twin is learned; returns what was asked for."""
    asked = []
    free_run = [SimpleNamespace(group="tip", unit="mm", error=1.5, spread=20.0)]
    robot = described(
        {
            "name": "arm",
            "rate_hz": 50.0,
            "commands": [{"name": "u", "min": 0.0, "max": 1.0}],
            "outputs": [{"name": "z", "unit": "m", "display_unit": "mm"}],
            "signals": [{"name": "dead"}, {"name": "s"}],
        },
        "arm",
    )

    def learn(recordings, held_out, settings, rate_hz, out, progress):
        progress(training.Progress(stage="network 1 of 4, rollout", update=1, updates=2, loss=0.1))
        asked.append((recordings, held_out, settings, rate_hz, out))
        return SimpleNamespace(
            robot=robot, rate_hz=50.0, input_delay=3, moving=["s"], noise=[2e-5, 0.25],
            free_run=free_run, held_out="b\x1b[2J", at_rest=[-0.0125, 3.5],
        )  # fmt: skip

    monkeypatch.setattr(dataset, "read_recordings", lambda paths, robot: [Run(p) for p in paths])
    monkeypatch.setattr(dataset, "read_recording", lambda path, robot: Run(path))
    monkeypatch.setattr(twin, "learn", learn)
    return asked


def test_a_twin_is_judged_by_the_last_recording_and_says_how_to_go_on(softctl, learned):
    ended = softctl("twin", "a", "b", "--out", "t", "--settings", '{"networks": 2}')
    assert ended.code == 0 and ended.err == ""
    ((recordings, held_out, settings, rate_hz, out),) = learned
    assert (recordings, held_out, rate_hz, out) == (
        [Run(Path("a"))],
        Run(Path("b")),
        None,
        Path("t"),
    )
    assert settings.networks == 2 and settings.hidden == (64, 64)
    for said in (
        "on b\\x1b[2J", "│ tip, mm", "1.500", "20.000", "3 samples, 60 ms",
        "│ z, mm", "-12.5", "0.02", "│ s ", "3.5", "0.25",
        "softctl run --rig t --model MODEL --firmware BUILD --rate-hz 50",
    ):  # fmt: skip
        assert said in ended.out, said


def test_a_twin_may_be_judged_by_a_run_that_is_named(softctl, learned):
    assert softctl("twin", "a", "--validation", "c", "--rate-hz", 25).code == 0
    assert learned[0][:2] == ([Run(Path("a"))], Run(Path("c"))) and learned[0][3] == 25.0


def test_recording_and_rig_are_two_ways_to_check_by(softctl, monkeypatch):
    monkeypatch.setattr(model, "load_card", lambda folder: SimpleNamespace(robot=None))
    line = softctl("check-model", "m", "--recording", "a", "--rig", "tendon").mistake()
    assert "--recording and --rig both say what to check by" in line


@pytest.mark.parametrize(
    ("asked", "warned"),
    [
        ({}, ""),
        ({"output_wait": [1.0, 1.0, 1.0]}, "output_wait"),
        ({"horizon": 0}, "horizon"),
    ],
)
def test_what_no_firmware_could_be_built_with_is_said_before_a_training(
    softctl, trained, asked, warned
):
    robot = yaml.safe_load(paths.robot("tendon").read_text(encoding="utf-8"))
    robot["nodes"]["mcu"]["mpc"] |= asked
    Path("arm.yaml").write_text(yaml.safe_dump(robot | {"name": "arm"}), encoding="utf-8")
    ended = softctl("train", "a", "b", "--robot", "arm.yaml")
    assert ended.code == 0 and len(trained) == 1
    said = [line for line in ended.err.splitlines() if "a firmware will need it" in line]
    assert len(said) == bool(warned) and all(warned in line and "of arm" in line for line in said)
