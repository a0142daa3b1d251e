from __future__ import annotations

import json
import math

import pytest

from soft_control.learning.card import ModelCard, ModelError, file_hash, load_card
from soft_control.robots.description import described

ROBOT = described(
    {
        "name": "tendon", "rate_hz": 120.0,
        "commands": [{"name": f"servo_{i}", "min": -1.0, "max": 1.0} for i in range(2)],
        "outputs": [
            {"name": a, "unit": "m", "display_unit": "mm", "axis": a, "point": "tip"} for a in "xz"
        ],
        "signals": [{"name": "lace_00"}],
    },
    "here",
)  # fmt: skip
ERRORS = {
    "group": "tip", "unit": "mm", "one_step": 0.1, "ten_step_live": 0.2, "ten_step_held": 0.3,
    "free_run": 1.0, "free_run_p95": 2.0, "free_run_max": 3.0,
}  # fmt: skip
WHOLE = {
    "robot": ROBOT.model_dump(mode="json"),
    "rate_hz": 120.0, "input_lags": 3, "output_lags": 3, "input_delay": 5,
    "output_names": ["x", "z"],
    "command_names": ["servo_0", "servo_1"],
    "command_offset": [0.0, -0.1], "command_scale": [1.0, 2.0],
    "output_offset": [0.0, 0.001], "output_scale": [0.012, 0.012],
    "signal_names": ["lace_00"], "signal_offset": [0.5], "signal_scale": [0.2],
    "signal_model": {
        "hidden": [[0.1, 0.2, 0.3, 0.4, 0.5]], "weights": [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]],
        "noise": [0.1], "error": [[0.01, 0.002], [0.002, 0.02]], "error_s": 0.4,
    },
    "signal_doubt": {
        "innovation": [0.5], "others": [[0.0]], "slow_rest": [0.2], "rest_sum": [0.4],
        "still_samples": [35],
    },
    "surface": {
        "leading": ["x"], "factors": [100.0], "degree": 2, "following": {"z": [0.0, 0.1, 0.2]},
    },
    "trained": {
        "commands": [[-1.0, 1.0], [-2.1, 1.9]],
        "outputs": [[-0.01, 0.01], [-0.02, 0.03]],
        "signals": [[0.1, 0.9]],
        "frame": "rig_base",
    },
    "metrics": [ERRORS], "evaluated_on": ["b"], "recordings": ["a"],
}  # fmt: skip

MISSING = object()
WRONG = [
    ("robot", "tendon"), ("robot", 3), ("robot", {}), ("robot", MISSING),
    ("robot", ROBOT.model_dump(mode="json") | {"name": "../x"}),
    ("rate_hz", 0), ("rate_hz", -120.0), ("rate_hz", math.inf), ("rate_hz", math.nan),
    ("rate_hz", "120"), ("rate_hz", True), ("rate_hz", 1e9),
    ("input_lags", 0), ("input_lags", 10**9), ("input_lags", 2.5), ("input_lags", True),
    ("output_lags", 0), ("input_delay", -1), ("input_delay", 10**6),
    ("output_names", []), ("output_names", ["x", "x"]), ("output_names", ["x", "w"]),
    ("output_names", ["x"]), ("output_names", ["z", "x"]),
    ("command_names", []), ("command_names", ["a", "a"]), ("command_names", ["a"]),
    ("command_names", ["a", "b\n"]), ("command_names", ["a", "\x1b[31m"]),
    ("command_names", ["a", ""]), ("command_names", ["a", "b" * 65]),
    ("command_names", ["a", "\u2028"]), ("command_names", ["a", "\u202e"]),
    ("command_offset", [0.0]), ("command_offset", [0.0, math.nan]),
    ("command_scale", [1.0, 0.0]), ("command_scale", [1.0, -1.0]), ("command_scale", [1.0]),
    ("command_scale", [1.0, math.inf]), ("command_scale", [[1.0], [2.0]]),
    ("output_offset", [0.0]), ("output_offset", [0.0, math.inf]),
    ("output_scale", 0.012), ("output_scale", [0.0, 0.0]), ("output_scale", [-1.0, -1.0]),
    ("output_scale", [math.nan] * 2), ("output_scale", [0.01]), ("output_scale", [0.01, 0.02]),
    ("signal_names", []), ("signal_names", ["a\x00"]), ("signal_names", "lace_00"),
    ("signal_offset", []), ("signal_scale", [0.0]), ("signal_scale", [0.1, 0.1]),
    *(
        ("signal_model", {**WHOLE["signal_model"], name: value})
        for name, value in (
            ("hidden", []), ("hidden", [[0.1] * 4]), ("hidden", [[0.1] * 5] * 2),
            ("weights", []), ("weights", [[0.1] * 5]), ("weights", [[math.nan] * 6]),
            ("noise", [0.0]), ("noise", [0.1, 0.1]), ("error_s", 0.0),
            ("error", [[0.1, 0.0]]), ("error", [[0.1], [0.1]]),
            ("error", [[0.1, 0.0], [0.01, 0.1]]), ("error", [[0.1, 0.2], [0.2, 0.1]]),
        )
    ),
    ("memory_s", [0.0]), ("memory_s", [math.inf]), ("memory_s", [-1.0]),
    *(
        ("signal_doubt", {**WHOLE["signal_doubt"], name: value})
        for name, value in (
            ("innovation", [0.0]), ("innovation", [0.1, 0.1]), ("slow_rest", [-1.0]),
            ("rest_sum", [0.0]), ("others", [0.0]), ("others", [[0.0, 0.0]]),
            ("others", [[math.inf]]), ("still_samples", [1]), ("still_samples", [2**16]),
            ("still_samples", [35, 35]), ("still_samples", [3.5]),
        )
    ),
    ("surface", []), ("surface", {**WHOLE["surface"], "degree": 3}),
    ("surface", {**WHOLE["surface"], "factors": []}),
    ("surface", {**WHOLE["surface"], "leading": ["y"]}),
    ("surface", {**WHOLE["surface"], "following": {"x": [0.0, 0.1, 0.2]}}),
    ("surface", {**WHOLE["surface"], "following": {"z": [0.0, math.inf, 0.0]}}),
    ("trained", {**WHOLE["trained"], "commands": [[-1.0, 1.0]]}),
    ("trained", {**WHOLE["trained"], "commands": [[1.0, -1.0], [0.0, 1.0]]}),
    ("trained", {**WHOLE["trained"], "outputs": [[0.0, 1.0]]}),
    ("trained", {**WHOLE["trained"], "frame": "a\nb"}),
    ("metrics", [ERRORS | {"free_run": math.nan}]), ("metrics", [ERRORS | {"group": "a\nb"}]),
    ("metrics", [{}]), ("signal_names", ["lace_99"]),
    ("recordings", ["a\x07"]), ("recordings", ["a" * 301]), ("evaluated_on", [1]),
    ("model_hash", "*/ evil"), ("model_hash", "0123"),
    ("surplus", 1),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A model directory whose network nobody looks at."""
    (tmp_path / "fk.keras").write_bytes(b"weights")
    return tmp_path


def put(folder, **changes) -> None:
    values = {**WHOLE, "model_hash": file_hash(folder / "fk.keras"), **changes}
    values = {name: value for name, value in values.items() if value is not MISSING}
    (folder / "fk.json").write_text(json.dumps(values))


def test_a_whole_card_is_read(folder):
    put(folder)
    card = load_card(folder)
    assert card.trained.frame == "rig_base" and card.signal_model.noise == [0.1]
    assert ModelCard.model_validate_json(card.model_dump_json()) == card


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_what_no_card_can_hold_is_one_line_with_file_and_field(folder, field, value):
    put(folder, **{field: value})
    with pytest.raises(ModelError) as caught:
        load_card(folder)
    said = str(caught.value)
    assert said.startswith(f"{folder / 'fk.json'}: ") and said.isprintable()
    # A length that does not fit is said of one of the two fields that have it.
    names = {"output_names": "output_", "command_names": "command_offset"}
    names |= {"signal_names": "signal_"}
    assert field in said or names.get(field, field) in said
    assert len(said) < len(str(folder)) + 400


def test_the_value_is_said(folder):
    put(folder, command_scale=[1.0, -1.0])
    with pytest.raises(ModelError, match=r"fk.json: command_scale.1 = -1.0: .*greater than 0"):
        load_card(folder)
    put(folder, command_offset=[0.5])
    with pytest.raises(ModelError, match=r"command_offset = \[0.5\]: 1 values, but command_names"):
        load_card(folder)


def test_a_card_of_before_doubt_and_memory_is_read_and_has_none(folder):
    put(folder, signal_doubt=MISSING, signal_model=MISSING)
    card = load_card(folder)
    assert card.signal_doubt is None and card.signal_model is None and card.memory_s == []


def test_doubt_without_ranges_is_refused(folder):
    put(folder, trained=None)
    with pytest.raises(ModelError, match="signal_doubt: there is one, but no signal_model, or no"):
        load_card(folder)


def test_a_signal_model_without_signals_is_refused(folder):
    nothing = {"signal_names": [], "signal_offset": [], "signal_scale": []}
    put(folder, **nothing, trained=None, signal_doubt=None)
    with pytest.raises(ModelError, match="signal_model: there is one, but signal_names is empty"):
        load_card(folder)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[]", b"null", b"{", b"[" * 10**5, b"\x00"])
def test_what_is_no_json_object_is_one_line(folder, text):
    (folder / "fk.json").write_bytes(text)
    with pytest.raises(ModelError) as caught:
        load_card(folder)
    assert str(caught.value).isprintable()


def test_what_nodes_are_told_comes_back_from_the_card(folder):
    """An output may have one bound alone: the other one is infinite."""
    nodes = {"mcu": {"mpc": {"output_min": [-math.inf, 0.0], "horizon": 5}}}
    robot = ROBOT.model_copy(update={"nodes": nodes, "training": {"hidden": [8, 8]}})
    values = {**WHOLE, "model_hash": file_hash(folder / "fk.keras"), "robot": robot}
    (folder / "fk.json").write_text(ModelCard(**values).model_dump_json(indent=2))
    assert load_card(folder).robot == robot
