"""The report of a campaign whose table is made by hand."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pyarrow as pa
import pytest

from soft_control.campaign.plan import Plan, prepare
from soft_control.campaign.report import cell, shown, write_report
from soft_control.campaign.results import Figure
from soft_control.campaign.store import SCHEMA

T_S = np.arange(0, 4, 0.05)


@pytest.fixture(scope="module")
def planned(values):
    changed = values | {
        "controllers": ["mpc", {"name": "pid", "disturbances": ["nominal", "interference"]}],
        "disturbances": ["nominal", "gain_0.8", "interference"],
        "seeds": 3,
    }
    return prepare(Plan.model_validate(changed))


def made_up(planned) -> pa.Table:
    """Errors of the MPC are 1 mm on figure_eight and 2 on fixed, of the PID 3 and 1, and a
    hundredth more from seed to seed; the last run of the MPC breaks off."""
    mean = {
        ("mpc", "figure_eight"): 1.0, ("mpc", "fixed"): 2.0,
        ("pid", "figure_eight"): 3.0, ("pid", "fixed"): 1.0,
    }  # fmt: skip
    rows = []
    for row in planned.rows:
        rmse = mean[row.controller, row.reference] + 0.01 * row.seed
        curve = 1e3 * planned.kits["tendon"].curves[row.reference].values(T_S)
        values = {
            "of": "tip", "unit": "mm", "samples": 480, "rmse": rmse, "p95": 2 * rmse,
            "max": 3 * rmse, "path_rmse": rmse, "rmse_late": rmse, "t_s": T_S,
            "outputs": (curve + [rmse, 0, 0]).ravel(), "reference_outputs": curve.ravel(),
        }  # fmt: skip
        rows.append(vars(row) | values)
    last = max(i for i, row in enumerate(planned.rows) if row.controller == "mpc")
    rows[last] = vars(planned.rows[last]) | {"fault": "it | broke\x1b"}
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def lines_of(page: str, heading: str) -> list[list[str]]:
    """Cells of the table rows below a heading."""
    part = page.partition(heading)[2].partition("\n#")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[c.strip() for c in line.strip("|").split(" | ")] for line in lines]


def test_the_page_says_what_the_table_holds(planned, tmp_path):
    page = write_report(planned, made_up(planned), tmp_path).read_text()
    tasks = lines_of(page, "\n## tendon\n")
    assert tasks[0] == ["disturbance", "", "MPC untethered", "PID"] or tasks[0][0] == "disturbance"
    # Means over two references and three seeds; the worst maximum is 3 · 2.02 and 3 · 3.02.
    assert tasks[1] == ["nominal", "as trained", "1.51 / 6.06", "2.01 / 9.06"]
    # (1.00 + 1.01 + 1.02 + 2.00 + 2.01) / 5, and no PID here.
    assert tasks[2][2:] == ["1.41 / 6.03, 1 of 6 broke off", "-"]
    assert ["figure\\_eight", "1.01 / 3.06", "3.01 / 9.06"] in tasks
    assert "- tendon, interference: the rig has no parameter interference\\_gauss" in page
    assert r"seed 2): it \| broke\\x1b" in page and "\x1b" not in page

    pair = lines_of(page, "### tendon: MPC untethered against PID")
    assert len(pair) == 2  # a heading, and the one task that both have
    assert pair[1] == [
        "nominal", "-0.500 (-2.000 to +1.000)", "open", "figure\\_eight", "fixed", "3 / 3",
    ]  # fmt: skip
    text = " ".join(page.split())
    assert "MPC untethered is better in 0 of 1 tasks (none), worse in 0 (none)" in text


def test_every_figure_that_the_page_shows_is_there_and_is_a_picture(planned, tmp_path):
    steps = []
    page = write_report(
        planned, made_up(planned), tmp_path, lambda done, total: steps.append((done, total))
    ).read_text()
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page)
    assert sorted(shown) == sorted(f"figures/{p.name}" for p in (tmp_path / "figures").iterdir())
    assert len(shown) == 6 and steps == [(i, 6) for i in range(1, 7)]
    for name in shown:
        root = ET.parse(tmp_path / name).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(root.findall(".//{http://www.w3.org/2000/svg}path")) > 20


def test_the_same_table_gives_the_same_bytes(planned, tmp_path):
    table, found = made_up(planned), []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write_report(planned, table, tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        found.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files})
    assert found[0] == found[1]


def test_a_mean_over_fewer_references_says_so():
    figure = Figure(4, 0, 2, 1.0, 2.0, 1.0)
    assert shown(figure, 2) == "1.00 / 2.00"
    assert shown(figure, 5) == "1.00 / 2.00, on 2 of 5 references"
    gone = Figure(4, 4, 2, np.nan, np.nan, np.nan)
    assert shown(gone, 2) == "4 of 4 broke off" and shown(None, 2) == "-"


def test_anyones_text_is_only_text():
    assert cell("a|b_c*\n<x>[y](z)") == "a\\|b\\_c\\*\\\\n\\<x\\>\\[y\\](z)"
