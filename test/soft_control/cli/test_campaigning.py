"""softctl campaign, from its mistakes to its table."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from soft_control.cli import campaigning
from soft_control.cli.terminal import FAILED, INTERRUPTED

pytest.importorskip("distributed", reason="pip install soft_control[campaign]")
pq = pytest.importorskip("pyarrow.parquet", reason="pip install soft_control[campaign]")


@pytest.fixture
def plan(tendon_model, made, tmp_path) -> Path:
    """Two rows, and one disturbance that the rig has not."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "rigs": {"tendon": {"model": str(tendon_model.model), "build": str(made)}},
                "references": ["fixed"],
                "controllers": ["mpc", "pid"],
                "disturbances": ["nominal", "interference"],
                "seeds": 1,
                "duration_s": 4.0,
            }
        )
    )
    return path


def test_from_a_plan_to_a_report_and_the_second_call_computes_nothing(plan, softctl, monkeypatch):
    ended = softctl("campaign", plan, "--workers", 1)
    assert ended.code == 0
    assert ended.err == (
        "warning: left out: tendon: no interference: the rig has no parameter interference_gauss\n"
    )
    assert "2 rows, in campaigns/tiny" in ended.out
    assert "table: campaigns/tiny/table.parquet; report: campaigns/tiny/report.md" in ended.out
    table = pq.read_table("campaigns/tiny/table.parquet")
    assert table["controller"].to_pylist() == ["mpc", "pid"]
    report = Path("campaigns/tiny/report.md")
    before = report.read_bytes()
    report.unlink()

    from soft_control.campaign import schedule

    monkeypatch.setattr(schedule, "compute", lambda *_: pytest.fail("it computes again"))
    again = softctl("campaign", plan)
    assert again.code == 0 and "2 rows, 2 of them there, in campaigns/tiny" in again.out
    assert report.read_bytes() == before

    plan.write_text(plan.read_text().replace("seeds: 1", "seeds: 2"))
    line = softctl("campaign", plan).mistake()
    assert "campaigns/tiny was begun with another plan: plan.seeds was 1 and is 2" in line


def test_a_dry_run_writes_nothing(plan, softctl):
    before = sorted(Path().rglob("*"))
    ended = softctl("campaign", plan, "--dry-run")
    assert ended.code == 0 and "2 rows, in campaigns/tiny" in ended.out
    assert sorted(Path().rglob("*")) == before


def test_a_run_that_breaks_off_is_exit_code_1_and_ctrl_c_is_130(plan, softctl, monkeypatch):
    from soft_control.campaign import schedule

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(schedule, "compute", stopped)
    ended = softctl("campaign", plan, "--out", "here")
    assert ended.code == INTERRUPTED and "the same call goes on with what is in here" in ended.err

    def broken(client, campaign, rows, on_row):
        for row in rows:
            on_row(vars(row) | {"fault": "mad"}, 1)

    monkeypatch.setattr(schedule, "compute", broken)
    ended = softctl("campaign", plan, "--out", "here")
    assert ended.code == FAILED and "2 of 2 runs broke off" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scheduler", "tcp://x:1", "--workers", 2], "--workers are of this machine"),
        (["--workers", -1], "--workers"),
        (["--scheduler", "tcp://127.0.0.1:1"], "--scheduler tcp://127.0.0.1:1: no dask scheduler"),
    ],
)
def test_mistakes_are_one_line(arguments, said, plan, softctl, monkeypatch):
    from soft_control.campaign import schedule

    monkeypatch.setattr(schedule, "ANSWER_S", 0.5)
    assert said in softctl("campaign", plan, *arguments).mistake()
    assert not Path("campaigns").exists()


def test_without_its_packages_it_says_which(plan, softctl, monkeypatch):
    monkeypatch.setattr(campaigning, "PACKAGES", ("no_such_package",))
    line = softctl("campaign", plan).mistake()
    assert line == "a campaign needs no_such_package: pip install soft_control[campaign]"
