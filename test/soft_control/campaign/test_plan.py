"""Plans: what is refused, by name and in one line, and the rows that one comes to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import soft_control.campaign.plan as plans
from soft_control.campaign.disturbances import ALL, DISTURBANCES
from soft_control.campaign.plan import Plan, prepare, read_plan
from soft_control.campaign.store import SCHEMA, difference
from soft_control.campaign.ways import WAYS
from soft_control.paths import share

PLANS = sorted((share() / "config" / "campaigns").glob("*.yaml"))


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_the_plans_that_come_with_the_project_can_be_read(path):
    plan = read_plan(path)
    assert plan == read_plan(Path(path.name))  # found by name alone, too
    assert {one.name for one in plan.controllers} <= set(WAYS)
    with pytest.raises(ValueError, match="nowhere/.*: no such file, nor one of first.yaml, "):
        read_plan(Path("nowhere") / path.name)  # a folder that was misspelled is not passed over


def test_the_papers_plan_has_the_whole_table_of_disturbances():
    plan = read_plan(Path("paper.yaml"))
    assert plan.disturbances == [ALL]
    assert set(plan.rigs) == {"tendon", "hasel"}


def test_the_page_has_every_controller_disturbance_and_column():
    page = (Path(__file__).resolve().parents[3] / "docs" / "campaigns.md").read_text()
    for name in (*WAYS, *DISTURBANCES, *SCHEMA.names):
        assert f"`{name}`" in page, name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rigs": {}}, "rigs"),
        ({"rigs": {"tendon": {"model": "x"}}}, "rigs.tendon.build: missing"),
        ({"rigs": {"../x": {"model": "x", "build": "x"}}}, "rigs"),
        ({"references": []}, "references"),
        ({"references": ["fixed", "fixed"]}, "references: fixed is there twice"),
        ({"controllers": []}, "controllers"),
        ({"controllers": ["mpc", "mpc"]}, "controllers: mpc is there twice"),
        ({"controllers": ["MPC"]}, "unknown controller 'MPC': choose of mpc, "),
        ({"controllers": [{"name": "mpc", "seed": 1}]}, "no such setting"),
        (
            {"controllers": [{"name": "mpc", "references": ["swirl"]}]},
            "the reference swirl is none of the plan's",
        ),
        (
            {"controllers": [{"name": "mpc", "disturbances": ["payload"]}]},
            "the disturbance payload is none of the plan's",
        ),
        ({"disturbances": ["gain"]}, "unknown disturbance 'gain'"),
        ({"disturbances": ["nominal", "nominal"]}, "nominal is there twice"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": [1, 1]}, "seeds: 1 is there twice"),
        ({"seeds": [-1]}, "seeds"),
        ({"duration_s": 3.0}, "duration_s"),
        ({"duration_s": "nan"}, "duration_s"),
        ({"trace_hz": 0}, "trace_hz"),
        ({"length": 3}, "length"),
    ],
)
def test_a_plan_that_is_wrong_is_one_line(change, said, plan_file):
    path = plan_file(**change)
    with pytest.raises(ValueError) as refused:
        read_plan(path)
    line = str(refused.value)
    assert line.startswith(f"{path}: ") and said in line and line.isprintable()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "nowhere"}, "rigs.tendon: nowhere"),
        ({"build": "nowhere"}, "rigs.tendon: no firmware.json in nowhere"),
        ({"channels": ["lace_99"]}, "rigs.tendon.channels: lace_99 is none of the robot's signals"),
        ({"channels": ["lace_01"]}, "nothing is left to run: tendon: no channel_spiking"),
        ({"rig": "hasel"}, "is of the robot 'tendon', not of hasel"),
        ({"rig": "../x"}, "unknown rig '../x'"),
    ],
)
def test_what_does_not_fit_is_said_with_the_rig(change, said, values, rigs):
    changed = values | {
        "rigs": {"tendon": rigs["tendon"] | change},
        "disturbances": ["channel_spiking"],
    }
    with pytest.raises(ValueError) as refused:
        prepare(Plan.model_validate(changed))
    assert said in str(refused.value) and str(refused.value).isprintable()


def test_every_combination_is_a_row_and_a_controller_may_have_fewer(values, rigs):
    changed = values | {
        "controllers": [
            "mpc",
            {"name": "pid", "references": ["fixed"], "disturbances": ["channel_stuck"]},
            {"name": "mpc_tethered", "disturbances": ["nominal"], "seeds": [7]},
        ],
        "disturbances": ["nominal", "channel_stuck"],
    }
    few = values | {
        "rigs": {"tendon": rigs["tendon"] | {"channels": ["lace_06", "lace_00"]}},
        "disturbances": ["channel_dead", "channel_stuck:lace_05"],
    }
    assert [row.disturbance for row in prepare(Plan.model_validate(few)).rows[::4][:3]] == [
        "channel_dead:lace_06",
        "channel_dead:lace_00",
        "channel_stuck:lace_05",
    ]
    campaign = prepare(Plan.model_validate(changed))
    by = {name: [r for r in campaign.rows if r.controller == name] for name in campaign.compared}
    assert [row.number for row in campaign.rows] == list(range(len(campaign.rows)))
    assert len(by["mpc"]) == 2 * (1 + 4) * 2
    assert len(by["pid"]) == 1 * 4 * 2
    assert {row.disturbance for row in by["pid"]} == {
        f"channel_stuck:lace_{number}" for number in ("00", "05", "06", "10")
    }
    assert [(r.reference, r.seed) for r in by["mpc_tethered"]] == [
        ("figure_eight", 7),
        ("fixed", 7),
    ]
    assert not campaign.skipped


def test_whatever_the_rows_come_from_is_in_the_identity(values, rigs, tmp_path, monkeypatch):
    """A row that was computed before any of it has changed is none of the plan's any more."""
    few = values | {"seeds": 1, "disturbances": ["channel_dead"]}

    def of(rig: dict | None = None, **changes) -> dict:
        plan = few | changes | {"rigs": {"tendon": rigs["tendon"] | (rig or {})}}
        return prepare(Plan.model_validate(plan)).identity

    first = of()
    assert difference(first, of()) == ""
    assert "rigs.tendon.channels" in difference(first, of({"channels": ["lace_05"]}))
    assert "plan.seeds" in difference(first, of(seeds=2))
    other = tmp_path / "firmware"
    shutil.copytree(rigs["tendon"]["build"], other)
    record = json.loads((other / "firmware.json").read_text())
    (other / "firmware.json").write_text(json.dumps(record | {"build_id": "another"}))
    assert "rigs.tendon.firmware" in difference(first, of({"build": str(other)}))
    csv = tmp_path / "a.csv"
    csv.write_text("t_s,x,y,z\n0,0,0,0\n1,0,0,0.01\n")
    known = of(references=[str(csv)])
    csv.write_text("t_s,x,y,z\n0,0,0,0\n1,0,0,0.02\n")
    assert "rigs.tendon.references" in difference(known, of(references=[str(csv)]))
    monkeypatch.setattr(plans, "code_hash", lambda: "another")
    assert difference(first, of()).startswith("code was ")


def test_what_a_rig_has_not_is_left_out_and_said(values):
    plan = Plan.model_validate(values | {"disturbances": ["all"], "seeds": 1})
    campaign = prepare(plan)
    assert [(one.disturbance, one.reason) for one in campaign.skipped] == [
        ("interference", "the rig has no parameter interference_gauss"),
        ("magnets_weak", "the rig has no parameter magnet_strength"),
    ]
    assert not {row.disturbance for row in campaign.rows} & {"interference", "magnets_weak"}
    with pytest.raises(ValueError, match="nothing is left to run: tendon: no interference"):
        prepare(Plan.model_validate(values | {"disturbances": ["interference"]}))


def test_a_controller_without_its_package_is_refused(monkeypatch, plan_file):
    from soft_control.campaign import ways

    monkeypatch.setitem(
        ways.WAYS, "trial", ways.Way("trial", lambda stand: None, package="no_such")
    )
    with pytest.raises(ValueError, match="the controller trial needs no_such"):
        read_plan(plan_file(controllers=["trial"]))
