"""What a report says and draws: by the description of the run, for any controllers and names."""

from __future__ import annotations

import json
import random
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from soft_control.experiment import figures, report
from soft_control.experiment.record import RECORD_FILE, read_record
from soft_control.experiment.report import read_entries, table, verdict, write_report
from soft_control.experiment.run_samples import Entry, Run
from soft_control.learning.dataset import RecordingError
from soft_control.robots.description import Command, Output, Signal, tip

PID = dict(controller="pid", title="PID", sees_position=True, has_preview=False, target=None)


def test_the_report_says_what_the_record_says(run_dir, record):
    """A tethered MPC sees the position; nothing is concluded from a controller's name."""
    given = record(sees_position=True, has_preview=False)
    rows = dict(table(read_entries([run_dir("a", given=given), run_dir("b")])))
    assert rows["sees the measured outputs"] == ["yes", "no"]
    assert rows["has preview"] == ["no", "yes"]


def test_a_run_on_a_twin_is_none_on_the_robot(run_dir, record):
    on_both = read_entries([run_dir("a", given=record(twin="twins/a\x1b[2J")), run_dir("b")])
    assert dict(table(on_both))["on the twin"] == ["twins/a\\x1b[2J", "-"]
    assert "on the twin" not in dict(table(on_both[1:]))
    assert [entry.summary["twin"] for entry in on_both] == ["twins/a\x1b[2J", None]


MCU = {"state": "running", "cause": "none", "missed_samples": 0, "telemetry_lost": 1480}
CUT = dict(wiring="mcu", cut="0.5@2.5")


def test_where_the_instruments_were_is_said_where_it_is_not_everywhere_the_host(run_dir, record):
    off = np.tile([3e-3, 4e-3, 0.5], (80, 1))
    off[50:60] *= 2.0
    cut = run_dir("cut", off, record(**CUT), unheard=range(50, 60), mcu=MCU)
    lost = MCU | {"state": "stopped", "cause": "sensor_silent", "telemetry_lost": 0}
    stopped = run_dir("stopped", given=record(wiring="mcu"), mcu=lost)
    gone = run_dir("gone", given=record(wiring="mcu"))
    entries = read_entries([cut, stopped, gone, run_dir("host")])
    rows = dict(table(entries))
    assert rows["instruments on"] == ["mcu", "mcu", "mcu", "host"]
    nothing = ["-", "-", "-"]
    assert rows["tip: RMSE before / during / after the cut, mm"] == [
        "5.00 / 10.00 / 5.00",
        *nothing,
    ]
    assert rows["push: RMSE before / during / after the cut, N"] == ["0.50 / 1.00 / 0.50", *nothing]
    assert rows["samples lost to the host, as the MCU counts"] == ["1,480", "0", "-", "-"]
    assert rows["MCU at the end"] == ["running", "stopped (sensor silent)", "-", "-"]
    assert rows["samples"] == ["70", "80", "80", "80"]
    without = dict(table(entries[1:]))
    assert without["instruments on"] == ["mcu", "mcu", "host"]
    assert not [title for title in without if "the cut" in title]
    host = dict(table(entries[3:]))
    assert "instruments on" not in host and "MCU at the end" not in host


def test_the_verdict_says_what_came_of_a_cut(run_dir, record):
    off = np.tile([0.0, 4e-3, 0.0], (80, 1))
    off[50:60] *= 0.5
    cut = run_dir("cut", off, record(**CUT), unheard=range(50, 60), mcu=MCU)
    said = (
        "{} went on while its line to the host was cut for 0.5 s at 2.5 s: RMSE before / during / "
        "after 4.00 / 2.00 / 4.00 mm{}."
    )
    heard = "; the host did not hear of 1,480 samples"
    assert verdict(read_entries([cut])).endswith(said.format("MPC on sil (cut)", heard))
    pid = run_dir("pid", (8e-3, 0.0, 0.0), record(**PID, wiring="mcu"), mcu=MCU)
    both = verdict(read_entries([cut, pid]))
    assert both.endswith(said.format("MPC", heard)) and both.count("was cut") == 1
    untold = run_dir("untold", off, record(**CUT), unheard=range(50, 60))
    assert verdict(read_entries([untold])).endswith(said.format("MPC on sil (untold)", ""))
    early = run_dir("early", off, record(wiring="mcu", cut="0.5@1"), mcu=MCU)
    assert "RMSE before / during / after - / - / 3.61 mm" in verdict(read_entries([early]))


def test_errors_are_shown_in_the_units_of_the_description(run_dir):
    rows = dict(table(read_entries([run_dir(off=(3e-3, -4e-3, 0.5)), run_dir("b", samples=30)])))
    assert rows["tip: tracking error RMSE, mm"] == ["5.00", "-"]
    assert rows["push: tracking error maximum, N"] == ["0.50", "-"]
    assert not [title for title in rows if "deg" in title]


def test_runs_of_one_robot_may_have_been_told_other_things(run_dir, record, robot):
    """What its nodes were told is no part of the robot; its limits are."""
    told = record(robot=robot(nodes={"mcu": {"mpc": {"horizon": 5}}}, training={"seed": 1}))
    assert len(read_entries([run_dir("a"), run_dir("b", given=told)])) == 2
    other = record(robot=robot(frame="table"))
    with pytest.raises(ValueError, match="one report compares runs of one robot"):
        read_entries([run_dir("c"), run_dir("d", given=other)])


def test_one_point_alone_is_not_named(run_dir, record, robot, diagonal):
    given = record(robot=robot(outputs=tip(axes="x")), curve=diagonal(x=0.02))
    assert (
        table(read_entries([run_dir(off=(0.0,), given=given)]))[0][0] == "tracking error RMSE, mm"
    )


def drawn(entries: list, caption: str) -> list[tuple[str, list]]:
    """Label, and y values of the coloured lines, of each plot of a figure."""
    with figures.plt.rc_context(figures.STYLE):
        figure = figures.FIGURES[caption](entries)
        found = [
            (axes.get_ylabel(), [line.get_ydata() for line in axes.get_lines()])
            for axes in figure.axes
        ]
        figures.plt.close(figure)
    return found


def test_commands_are_drawn_in_the_units_of_the_description(run_dir):
    entries = read_entries([run_dir()])
    (label, lines), (other, _) = drawn(entries, "Commands and their limits")
    assert (label, other) == ("left, kPa", "right, kPa")
    assert lines[0] == pytest.approx(1e-3 * entries[0].run.commands[:, 0])
    assert [lines[1][0], lines[2][0]] == [0.0, 200.0]  # the limits, kPa


def test_duties_have_no_unit_and_angles_are_in_degrees(run_dir, record, robot):
    commands = (
        Command(name="duty", min=-0.5, max=0.5),
        Command(name="bend", unit="rad", display_unit="deg", min=-1.0, max=1.0),
    )
    entries = read_entries([run_dir(given=record(robot=robot(commands=commands)))])
    (duty, lines), (bend, angles) = drawn(entries, "Commands and their limits")
    assert (duty, bend) == ("duty", "bend, deg")
    assert lines[2][0] == 0.5 and angles[2][0] == pytest.approx(57.2958)


def test_outputs_and_errors_are_drawn_one_a_plot(run_dir):
    entries = read_entries([run_dir(off=(3e-3, -4e-3, 0.5))])
    assert [label for label, _ in drawn(entries, "Path in time")] == ["x, mm", "z, mm", "push, N"]
    tip_error, force = drawn(entries, "Tracking error")
    assert tip_error[0] == "tip: tracking error, mm" and tip_error[1][0] == pytest.approx(5.0)
    assert force[0] == "push: tracking error, N" and force[1][0] == pytest.approx(0.5)
    ((z, _),) = drawn(entries, "Path in the plane")
    assert z == "z, mm"


def test_a_robot_without_a_plane_has_no_figure_of_one(run_dir, record, robot, diagonal):
    force = robot(outputs=(Output(name="push", unit="N"),))
    given = record(robot=force, curve=diagonal(push=3.0))
    entries = read_entries([run_dir(off=(0.0,), given=given)])
    assert figures.FIGURES["Path in the plane"](entries) is None
    captions = [caption for caption, _ in figures.draw_all(entries)]
    assert captions == ["Path in time", "Tracking error", "Commands and their limits", "Step cost"]


# ------------------------------------------------------------------------------------------ verdict


def test_the_verdict_of_one_and_of_two(run_dir, record, diagonal):
    surface = {"leading": ["x"], "factors": [1.0], "degree": 0, "following": {"z": [0.0]}}
    curve = diagonal(x=0.02, z=0.01, push=3.0) | {"surface": surface}
    better = run_dir("mpc", off=(3e-3, 0.0, 0.0), given=record(curve=curve))
    worse = run_dir("pid", off=(0.0, 4e-3, 0.0), given=record(**PID, curve=curve))
    one = verdict(read_entries([better]))
    assert one == "MPC on sil (mpc): RMSE of tip 3.00 mm, maximum 3.00 mm."
    for order in ([better, worse], [worse, better]):
        assert verdict(read_entries(order)) == (
            "MPC has the smaller tracking error of tip: RMSE 3.00 mm against 4.00 mm of PID; "
            "maximum 3.00 mm against 4.00 mm. MPC never sees the measured outputs but has preview "
            "of the reference; PID sees the outputs and has no preview."
        )


def test_the_verdict_of_any_number_in_any_unit(run_dir, record, robot, diagonal):
    force = robot(outputs=tip(unit="Pa", display_unit="kPa", axes="x"))
    common = dict(robot=force, curve=diagonal(x=5e3))
    runs = [
        run_dir("a", (3e3,), record(**common)),
        run_dir("b", (1e3,), record(**common, title="LQR", sees_position=True)),
        run_dir("c", (2e3,), record(**common, **PID)),
        run_dir("d", (4e3,), record(**common, **PID)),
    ]
    said = verdict(read_entries(runs))
    assert said.startswith(
        "LQR has the smallest tracking error: RMSE 1.00 kPa, maximum 1.00 kPa; then PID (c) with "
        "RMSE 2.00 kPa, maximum 2.00 kPa; then MPC with RMSE 3.00 kPa, maximum 3.00 kPa; then "
        "PID (d) with RMSE 4.00 kPa, maximum 4.00 kPa. "
    )
    assert "LQR sees the measured outputs and has preview of the reference" in said
    assert "mm" not in said


def test_the_verdict_says_what_is_no_comparison(run_dir, record):
    other = record(curve=dict(record().model_dump()["curve"], shape="step"), reference="step")
    short = run_dir("short", samples=30)
    said = verdict(read_entries([run_dir("a"), run_dir("b", given=other), short]))
    assert "followed different references, so this is no comparison" in said
    assert said.endswith("Too short to be measured: MPC on sil (short).")
    assert verdict(read_entries([short])) == "No run lasted long enough to be measured."


def test_runs_of_different_robots_and_open_loop_runs_are_refused(run_dir, record, robot):
    other = run_dir("b", given=record(robot=robot(name="leg")))
    with pytest.raises(ValueError, match="b is of the robot leg, .*a of arm"):
        read_entries([run_dir("a"), other])
    open_loop = record(curve=None, reference=None)
    with pytest.raises(ValueError, match="open-loop run: there is no tracking"):
        read_entries([run_dir("c", given=open_loop)])
    with pytest.raises(RecordingError, match="is no run"):
        read_entries([Path("none")])


# ---------------------------------------------------------------------------------------- the page


class Page(HTMLParser):
    """Collects what a page consists of, and that its elements nest."""

    VOID = {"meta", "br", "img", "link", "input", "hr"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


PIECES = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onclick='alert(1)",
    "</pre></style></svg>",
    "<!--",
    "-->",
    "]]>",
    "{{ 7*7 }}",
    "{% raw %}",
    "$\\frac{1}{2}$",
    "$x",
    "\\",
    "_hidden",
    "&lt;",
    "&#x3c;script&#x3e;",
    "%s",
    "'; rm -rf ~ #",
    "$(touch pwned)",
    "`touch pwned`",
    "*/",
    "??/",
    "\n",
    "\r\n",
    "\t",
    "\x00",
    "\x1b[31m",
    "\x85",
    "\u2028",
    "\u202e",
    "\U0001f600",
    "- a: &x",
    ": ",
    "../",
    "ä",
    " ",
]


def names(count: int, seed: int) -> list[str]:
    """Hostile names, the same each time: each piece by itself, then mixtures."""
    rng = random.Random(seed)
    mixed = ("".join(rng.choices(PIECES, k=rng.randint(1, 6))) for _ in range(count))
    return [*PIECES, *mixed][:count]


def as_folder(name: str) -> str:
    """The name as that of one folder: what no folder's name can hold is left out."""
    return name.replace("/", "").replace("\0", "").encode()[:200].decode(errors="ignore")


def test_500_hostile_names_stay_text(run_dir, record, robot, tmp_path, monkeypatch):
    """Through record, folder, table, verdict and page: the page has the elements and attributes
    that one of plain names has, and nothing else is written.

    Figures take the most time, so only two of ten pages draw them: the one with every piece by
    itself, and one of mixtures.
    """
    plain = read_entries([run_dir("plain", given=record()), run_dir("other", given=record(**PID))])
    write_report(plain, tmp_path / "plain.html")
    known = Page((tmp_path / "plain.html").read_text())
    base = run_dir("base")
    values = json.loads((base / RECORD_FILE).read_text())
    hostile = [name[:100] for name in names(500, 9)]
    with pytest.raises(ValueError, match="control character"):
        Signal(name="a\x1b[2J")
    before = sorted(p for p in tmp_path.rglob("*"))
    pages = 10
    for page in range(pages):
        chosen = hostile[50 * page : 50 * (page + 1)]
        called = [f"n{''.join(filter(str.isprintable, name))}"[:90] for name in chosen]
        mine = robot(
            commands=tuple(
                Command(name=n + str(i), unit="V", min=0, max=1) for i, n in enumerate(called[:2])
            ),
            outputs=(
                Output(name=called[4], unit="m", display_unit="mm", axis="x", point=called[5]),
                Output(
                    name=called[6] + "z", unit="m", display_unit="mm", axis="z", point=called[5]
                ),
                Output(name=called[7] + "y", unit="N"),
            ),
            signals=(Signal(name=called[9], full_scale_counts=1.0),),
            frame=called[10],
        )
        entries = []
        for i, name in enumerate(chosen[10:]):
            changed = {
                "robot": mine.model_dump(mode="json"),
                "title": name,
                "target": chosen[(i + 3) % len(chosen)],
                "reference": name,
                "load": name,
                "model": name,
                "out": name,
                "port": name,
                "model_hash": name,
                "build": {"build_id": name, name: [name]},
            }
            folder = tmp_path / "made" / str(page) / f"{i}{as_folder(name)}"
            folder.mkdir(parents=True)
            (folder / RECORD_FILE).write_text(json.dumps(values | changed))
            kept = read_record(folder)
            entry = plain[i % 2]
            run = Run(**{**vars(entry.run), "record": kept})
            label = report.label_of(kept, folder)
            entries.append(Entry(label, run, report.measure(run), entry.colour))
        out = tmp_path / "made" / str(page) / "report.html"
        if page > 1:
            monkeypatch.setattr(figures, "draw_all", lambda entries: [])
        write_report(entries if page != 1 else entries[:6], out)
        made = Page(out.read_text(encoding="utf-8"))
        assert made.elements <= known.elements and made.attributes <= known.attributes
        assert "script" not in made.elements
    after = {p for p in tmp_path.rglob("*")} - set(before)
    assert {p.relative_to(tmp_path).parts[0] for p in after} == {"made"}
    assert {p.name for p in after if p.is_file()} == {RECORD_FILE, "report.html"}


def test_a_name_is_shown_as_it_is(run_dir, record):
    """Neither swallowed nor taken for mathematics: `_hidden` is in the legend, `$x$` is text."""
    entries = read_entries(
        [run_dir("a", given=record(title="_hidden")), run_dir("b", given=record(title="$x$ & y"))]
    )
    with figures.plt.rc_context(figures.STYLE):
        figure = figures.FIGURES["Tracking error"](entries)
        texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        figures.plt.close(figure)
    assert texts == ["_hidden on sil (a)", "$x$ & y on sil (b)"]


def test_the_same_runs_make_the_same_page(run_dir, tmp_path):
    entries = read_entries([run_dir()])
    for name in ("a.html", "b.html"):
        write_report(entries, tmp_path / "deep" / name)
    first, again = ((tmp_path / "deep" / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == again and b"<svg" in first and b"MPC on sil (run)" in first
