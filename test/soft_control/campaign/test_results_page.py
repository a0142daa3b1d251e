"""What `make results` does, small: from a quickly trained model through campaigns to the page.

Its figures are those of the tables."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from soft_control.campaign.ways import WAYS
from soft_control.experiment.figures import plt

ROOT = Path(__file__).resolve().parents[3]
CONTROLLERS = ["mpc", "mpc_calibrated", "mpc_tethered", "pid", "pid_feedforward", "static_inverse"]
BOUND = {"name": "ipopt", "disturbances": ["nominal"], "references": ["swirl"], "seeds": [1]}
PLANS = {
    "small": {
        "references": ["figure_eight", "swirl", "fixed"],
        "controllers": [*CONTROLLERS, BOUND],
        "disturbances": ["nominal", "gain_0.8"],
    },
    "small_channels": {
        "references": ["figure_eight", "swirl"],
        "controllers": ["mpc", "mpc_tethered"],
        "disturbances": ["channel_dead:lace_00", "channel_dead:lace_05"],
    },
    "small_watch": {"references": ["swirl"], "controllers": ["mpc"], "seeds": [7]},
}
WATCHED = 1
"""Of these, at the end."""


def ended(*arguments: object) -> SimpleNamespace:
    """Runs a Python program from the root of the sources."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def compose(folders: list[Path], docs: Path) -> SimpleNamespace:
    """The script on these campaigns."""
    paths, watched = folders[:-WATCHED], folders[-WATCHED:]
    return ended("bench/results.py", *paths, "--watched", *watched, "--docs", docs)


@pytest.fixture(scope="module")
def folders(rigs, tmp_path_factory) -> list[Path]:
    """Of the three campaigns."""
    pytest.importorskip("casadi", reason="pip install soft_control[test]")
    place = tmp_path_factory.mktemp("results")
    for name, plan in PLANS.items():
        values = {"rigs": rigs, "seeds": 2, "duration_s": 5.0, **plan}
        (place / f"{name}.yaml").write_text(yaml.safe_dump(values))
        plan_file = place / f"{name}.yaml"
        run = ended("-m", "soft_control.cli", "campaign", plan_file, "--out", place / name)
        assert run.returncode == 0, run.stderr
    return [place / name for name in PLANS]


@pytest.fixture(scope="module")
def docs(folders, tmp_path_factory) -> Path:
    """Where the page is."""
    docs = tmp_path_factory.mktemp("docs")
    run = compose(folders, docs)
    assert run.returncode == 0, run.stderr
    return docs


@pytest.fixture(scope="module")
def page(docs) -> str:
    """The page."""
    return (docs / "results.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def table(folders) -> pa.Table:
    """All rows but those in which only doubt counts."""
    paths = folders[:-WATCHED]
    return pa.concat_tables([pq.read_table(folder / "table.parquet") for folder in paths])


def cells(page: str, heading: str, first: str) -> list[str]:
    """Of the first row below `heading` that begins with `first`."""
    lines = page.partition(heading)[2].splitlines()
    row = next(line for line in lines if line.startswith(f"| {first} |"))
    return [cell.strip().replace("\\", "") for cell in row.strip("|").split(" | ")]


def chosen(table: pa.Table, **values: str | int) -> pa.Table:
    """Rows with these values."""
    for name, value in values.items():
        table = table.filter(pc.equal(table[name], value))
    return table


def said(rows: pa.Table) -> str:
    """As the page says it."""
    if not rows.num_rows:
        return "-"
    return f"{np.mean(rows['rmse'].to_numpy()):.2f} / {np.max(rows['max'].to_numpy()):.2f}"


def test_every_figure_by_task_is_that_of_the_rows(page, table):
    moving = table.filter(pc.not_equal(table["reference"], "fixed"))
    for task, seeds in (("nominal", "2 or 1"), ("gain_0.8", "2")):
        row = cells(page, "\n## tendon\n", task.replace("_", "\\_"))
        of = [chosen(moving, disturbance=task, controller=name) for name in CONTROLLERS]
        assert row[2:-1] == [seeds, *map(said, of)]
    bound = chosen(moving, controller="ipopt")
    row = cells(page, "\n## tendon\n", "nominal")
    assert row[-1] == f"{said(bound)}, on 1 of 2 references"
    row = cells(page, "\n## tendon\n", "nominal, on a point")
    still = chosen(table, reference="fixed", disturbance="nominal")
    assert row[2:] == ["2", *(said(chosen(still, controller=name)) for name in CONTROLLERS), "-"]
    for reference in ("figure_eight", "swirl"):
        row = cells(page, "By reference", reference.replace("_", "\\_"))
        at = chosen(table, reference=reference, disturbance="nominal")
        assert row[1:-1] == [said(chosen(at, controller=name)) for name in CONTROLLERS]


def failing(table: pa.Table, controller: str, channel: str = "") -> pa.Table:
    """Runs of a controller in which a channel, or any of them, fails."""
    names = [f"channel_dead:{one}" for one in ([channel] if channel else ["lace_00", "lace_05"])]
    return pa.concat_tables(
        chosen(table, controller=controller, disturbance=name) for name in names
    )


def found(rows: pa.Table) -> str:
    """When the firmware told of the fault, as the page says it."""
    times = rows["found_s"].to_numpy()
    return f"{np.mean(times):.2f} / {np.max(times):.2f}"


def test_what_the_firmware_doubted_is_that_of_the_rows(page, table, folders):
    row = cells(page, "\n## tendon\n", "channel\\_dead")
    of = [said(failing(table, name)) for name in ("mpc", "mpc_tethered")]
    assert row[2:] == ["2, 2 channels", of[0], "-", of[1], *4 * ["-"]]
    lines = page.partition("### tendon: signals that lie")[2].splitlines()
    for name in ("mpc", "mpc_tethered"):
        rows = failing(table, name)
        (line,) = [one for one in lines if f"| {WAYS[name].title} | 8 |" in one]
        assert f"| {found(rows)} |" in line and f"| {said(rows)} |" in line
    for channel in ("lace_00", "lace_05"):
        rows = failing(table, "mpc", channel)
        row = cells(page, "### tendon: signals that lie", channel.replace("_", "\\_"))
        assert row[1:] == [f"{said(rows)} ({found(rows)})"]
    watched = pq.read_table(folders[-1] / "table.parquet")
    row = cells(page, "while they say what they feel", "nominal, 5 s each run")
    assert row[2:] == [f"{watched['doubted_sound'][0]} of 600", "-", "-"]


def test_what_the_optimum_would_win_is_the_difference_of_the_same_runs(page, table):
    (line,) = [one for one in page.splitlines() if one.startswith("- tendon, as trained:")]
    bound = chosen(table, controller="ipopt")
    assert f" {bound['iterations'][0].as_py():.1f} iterations a sample" in line
    same = chosen(table, controller="mpc", disturbance="nominal", reference="swirl", seed=1)
    apart = same["rmse"][0].as_py() - bound["rmse"][0].as_py()
    assert f"larger by {apart:+.3f} (one pair) mm" in line


def goals(page: str) -> list[list[str]]:
    """Cells of the table of what was asked for."""
    part = page.partition("## What was asked for")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if re.match(r"\| (tendon|hasel) \|", line)]
    return [[c.strip().replace("\\", "") for c in line.strip("|").split(" | ")] for line in lines]


def test_a_goal_is_reached_where_the_rows_keep_it_and_only_there(page, table):
    moving = table.filter(pc.not_equal(table["reference"], "fixed"))
    by_name = {row[1]: row[2:] for row in goals(page) if row[0] == "tendon"}
    mine = chosen(moving, disturbance="nominal", controller="mpc")
    kept = np.mean(mine["rmse"].to_numpy()) <= 0.8 and np.max(mine["max"].to_numpy()) <= 2.2
    assert by_name["as trained, untethered"][:2] != ["0.8 / 2.2", "-"]
    (first,) = [row for row in goals(page) if row[:2] == ["tendon", "as trained, untethered"]]
    assert first[2:4] == ["0.8 / 2.2", said(mine)]
    assert first[4].partition(",")[0] == ("reached" if kept else "**missed**")

    # Of two channels the larger of each figure.
    dead = [failing(table, "mpc", name) for name in ("lace_00", "lace_05")]
    rmse, largest = (
        max(of(rows[column].to_numpy()) for rows in dead)
        for of, column in ((np.mean, "rmse"), (np.max, "max"))
    )
    assert by_name["each channel dead"][1].startswith(f"{rmse:.2f} / {largest:.2f} (")
    late = np.max(failing(table, "mpc")["found_s"].to_numpy())
    measured = by_name["each channel dead, found within"]
    assert f"worst {late:.2f} s" in measured[1]
    assert measured[2] == "reached" if late <= 0.5 else measured[2].startswith("**missed**, by")

    calm, lead = (
        chosen(moving, disturbance="gain_0.8", controller=name)
        for name in ("mpc_tethered", "pid_feedforward")
    )
    # Means over seeds of each of two references: of two, the interval goes from one to the other.
    apart = np.array(
        [
            np.mean(chosen(calm, reference=name)["rmse"].to_numpy())
            - np.mean(chosen(lead, reference=name)["rmse"].to_numpy())
            for name in ("figure_eight", "swirl")
        ]
    )
    missed = "**missed**" if apart.mean() >= 0 else "open"
    below = by_name["gain 0.8, tethered"]
    assert below[:2] == [
        "below PID with lead and feed-forward",
        f"{said(calm)}, against {said(lead)}: "
        f"{apart.mean():+.3f} ({apart.min():+.3f} to {apart.max():+.3f})",
    ]
    assert below[2].partition(",")[0] == ("reached" if apart.max() < 0 else missed)
    # What no campaign was about is not passed over.
    assert by_name["gain 1.25, tethered"][1:] == ["-", "not measured"]
    assert {row[-1] for row in goals(page) if row[0] == "hasel"} == {"not measured"}


def test_it_says_in_which_tasks_the_pid_has_the_smaller_error(page, table):
    part = page.partition("## Where the PID wins")[2].partition("\n## ")[0]
    moving = table.filter(pc.not_equal(table["reference"], "fixed"))
    for pid in ("pid", "pid_feedforward"):
        for mpc in ("mpc", "mpc_calibrated", "mpc_tethered"):
            names = f"**{WAYS[pid].title}** against **{WAYS[mpc].title}**"
            (line,) = [one for one in part.splitlines() if f"tendon: {names}" in one]
            for task in ("nominal", "gain_0.8"):
                of = {
                    name: chosen(moving, disturbance=task, controller=name)["rmse"].to_numpy()
                    for name in (pid, mpc)
                }
                apart = np.mean(of[mpc]) - np.mean(of[pid])
                shown = f"{task} {apart:+.3f} (".replace("_", "\\_")
                assert (shown in line) == (apart > 0)


def test_every_picture_is_there_and_shown(docs, page):
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page)
    assert sorted(shown) == sorted(f"images/{p.name}" for p in (docs / "images").iterdir())
    kinds = {"time", "plane_figure_eight", "plane_swirl", "boxes_1", "errors_1"}
    assert {f"images/results_tendon_{kind}.png" for kind in kinds} <= set(shown)
    for name in shown:
        assert plt.imread(docs / name).std() > 0.01


@pytest.fixture
def changed(folders, tmp_path) -> Callable[..., tuple[list[Path], Path]]:
    """changed(change) copies the campaigns, changes a row of the first, and says where all are."""

    def copy(change: Callable[[dict], None]) -> tuple[list[Path], Path]:
        copies = [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in folders]
        path = copies[0] / "table.parquet"
        table = pq.read_table(path)
        rows = table.to_pylist()
        change(rows[0])
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
        return copies, tmp_path / "docs"

    return copy


def test_a_run_that_broke_off_is_named_and_reaches_no_goal(changed):
    def break_off(row: dict) -> None:
        assert (row["controller"], row["disturbance"]) == ("mpc", "nominal")
        row |= {"fault": "it broke"} | dict.fromkeys(("rmse", "p95", "max"))

    copies, docs = changed(break_off)
    assert compose(copies, docs).returncode == 0
    page = (docs / "results.md").read_text(encoding="utf-8")
    assert "- tendon, figure\\_eight, mpc, nominal, 0: it broke" in page
    (first,) = [row for row in goals(page) if row[:2] == ["tendon", "as trained, untethered"]]
    assert "1 of 4 broke off" in first[3] and first[4].startswith("**missed**")


def test_campaigns_that_have_not_ended_or_are_of_two_models_are_no_page(folders, changed):
    copies, docs = changed(lambda row: None)
    plan = copies[1] / "plan.json"
    plan.write_text(re.sub(r'"model": "\w+"', '"model": "0123456789abcdef"', plan.read_text()))
    run = compose(copies, docs)
    assert run.returncode == 2 and run.stderr == (
        f"error: {copies[1]}: its tendon is of another model, firmware or code than that of "
        f"{copies[0]}: run both campaigns again\n"
    )
    (copies[2] / "table.parquet").unlink()
    run = compose(copies, docs)
    assert run.returncode == 2 and f"{copies[2]}: no campaign that has ended" in run.stderr
    assert not docs.exists()
