from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import yaml

pytest.importorskip("optuna", reason="tuning needs optuna: pip install soft_control")

from soft_control import paths  # noqa: E402
from soft_control.control.references import Reference  # noqa: E402
from soft_control.experiment import tuning  # noqa: E402
from soft_control.experiment.closed_loop import PidController, run  # noqa: E402
from soft_control.experiment.node_parameters import merged, node_parameters  # noqa: E402
from soft_control.experiment.tuning import (  # noqa: E402
    WORST,
    Range,
    decouple,
    pid_config,
    rmse,
    search,
    tune,
    tune_pid,
    write_parameters,
)
from soft_control.rigs import describe, make_rig  # noqa: E402

SPACE = {"a": Range(-2.0, 2.0), "b": Range(1e-3, 1e3, log=True)}
START = {"a": -1.0, "b": 1.0}


def bowl(values: dict[str, float]) -> float:
    return (values["a"] - 0.5) ** 2 + (np.log10(values["b"]) - 1.0) ** 2


def test_search_finds_the_bottom_of_a_bowl():
    seen = []
    found = search(SPACE, bowl, 200, 0, START, lambda made, best: seen.append((made, best)))
    assert found.values["a"] == pytest.approx(0.5, abs=0.05)
    assert found.values["b"] == pytest.approx(10.0, rel=0.15)
    assert [made for made, _ in seen] == list(range(1, 201))
    assert all(b <= a for (_, a), (_, b) in zip(seen, seen[1:], strict=False))


def test_the_same_seed_finds_the_same_and_the_start_is_tried_first():
    first, again = (search(SPACE, bowl, 30, 7, START) for _ in range(2))
    assert first == again
    assert search(SPACE, bowl, 1, 3, START).values == START


def test_what_cannot_be_scored_is_the_worst():
    found = search(SPACE, lambda values: float("nan"), 3, 0, START)
    assert found.score == WORST


def test_tuned_gains_beat_the_start_and_come_back_from_their_file(tmp_path):
    """On the mass-spring-damper, where a trial takes 30 ms."""
    rig_name, rate_hz = "mass_spring_damper", 50.0
    curve = Reference(("x",), "multi_level", (0.03,), (0.0,), (0,), 2 * np.pi / 16).values
    followed = [(curve, 8.0)]
    scores = []
    parameters, found = tune_pid(
        rig_name, followed, rate_hz, 40, 0, gains=(1.0,), progress=lambda _, b: scores.append(b)
    )
    assert found.score < 0.9 * scores[0]
    path = tmp_path / "tuned" / "pid.yaml"
    write_parameters(path, "pid", parameters, ["how"])
    assert path.read_text().startswith("# how\n")
    read = yaml.safe_load(path.read_text())["pid"]["ros__parameters"]
    rig = make_rig(rig_name, seed=0)
    again = run(rig, PidController(pid_config(read, rig), rate_hz), curve, rate_hz, 8.0)
    assert rmse(again) == pytest.approx(found.score, rel=1e-12)


def test_decoupling_is_the_inverse_of_the_slopes():
    """1 %: the spring hardens a little at a quarter of the force."""
    rig = make_rig("mass_spring_damper")
    inverse = decouple(rig, np.zeros(1), np.array([0.05]))
    assert inverse == pytest.approx(np.array([[rig.parameters.stiffness]]), rel=0.01)


def test_parameters_of_a_robot_go_over_those_of_the_node_and_tuned_ones_over_both(
    tmp_path, monkeypatch
):
    nodes = {"mcu": {"mpc": {"c": 30, "d": 40}}}
    cart = describe("mass_spring_damper").model_copy(update={"name": "cart", "nodes": nodes})
    (tmp_path / "config" / "tuned").mkdir(parents=True)
    files = {
        "config/mcu.yaml": {"mcu": {"ros__parameters": {"a": 1, "mpc": {"b": 2, "c": 3, "d": 4}}}},
        "config/tuned/cart_mcu.yaml": {"mcu": {"ros__parameters": {"mpc": {"d": 400}}}},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(yaml.safe_dump(content))
    monkeypatch.setattr(paths, "share", lambda: tmp_path)
    assert node_parameters("mcu", cart) == {"a": 1, "mpc": {"b": 2, "c": 30, "d": 400}}
    other = cart.model_copy(update={"name": "other", "nodes": {}})
    assert node_parameters("mcu", other) == {"a": 1, "mpc": {"b": 2, "c": 3, "d": 4}}
    assert node_parameters("none", other) == {}


def test_merging_leaves_what_it_is_given():
    base, over = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merged(base, over) == {"a": {"b": 1, "c": 2}}
    assert base == {"a": {"b": 1}}


@pytest.mark.parametrize(
    "text", ["a\nb: 1", "a\r\n- b", "x\x85y: 2", "\u2028z: 3", "\x00", "'\"{["]
)
def test_a_comment_stays_one(tmp_path, text: str):
    """Whatever a name in it holds: the file says the parameters and nothing else."""
    path = tmp_path / "pid.yaml"
    write_parameters(path, "pid", {"kp": [1.0], "note": text}, [f"for the rig {text}", "units"])
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == {
        "pid": {"ros__parameters": {"kp": [1.0], "note": text}}
    }
    assert path.read_text(encoding="utf-8").count("#") == 2


def test_what_cannot_be_tuned_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'excitation' is not tuned: choose mpc or pid or pid_f"):
        tune("excitation", tmp_path, "figure_eight", 4.0, 1, 0)
    with pytest.raises(ValueError, match="unknown controller 'lqr'"):
        tune("lqr", tmp_path, "figure_eight", 4.0, 1, 0)


def test_nothing_is_tuned_on_a_second_opinion(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "load_card", lambda folder: SimpleNamespace(rig="mujoco_tendon"))
    monkeypatch.setattr(tuning, "rig_for", lambda card, folder, rig: card.rig)
    out = tmp_path / "gains.yaml"
    for name in ("pid", "mpc"):
        with pytest.raises(ValueError, match="a second opinion on tendon: tune on that one"):
            tune(name, tmp_path, "figure_eight", 4.0, 1, 0, out)
    assert not out.exists()


def test_tuning_by_name_writes_a_file_that_says_how(tmp_path, monkeypatch):
    """On the fastest rig, for one trial: the head names robot, references and the unit of gains."""
    robot = describe("mass_spring_damper")
    card = SimpleNamespace(rig=robot.name, robot=robot, rate_hz=50.0, surface=None)
    monkeypatch.setattr(tuning, "load_card", lambda folder: card)
    found, path = tune("pid", tmp_path, "multi_level", 4.0, 1, 0, tmp_path / "found.yaml")
    assert found.trials == 1
    head, *_ = path.read_text().partition("pid:")
    assert "for the mass_spring_damper rig, multi_level and a step, 50 Hz, seed 0" in head
    assert "decoupling: (commands x outputs) in N over m" in head
    read = yaml.safe_load(path.read_text())["pid"]["ros__parameters"]
    assert len(read["decoupling"]) == 1 and len(read["kp"]) == 1
