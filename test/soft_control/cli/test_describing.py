"""softctl describe and train --robot: a stranger's files, described and learned from."""

from __future__ import annotations

from pathlib import Path

from soft_control.cli.terminal import MISTAKEN


def test_what_is_printed_is_what_is_written_and_nothing_corrected_is_lost(softctl):
    Path("run.csv").write_text(
        "time_ms,u0_deg,x_mm\n" + "".join(f"{20 * k},{k},{k}\n" for k in range(9))
    )
    ended = softctl("describe", "run.csv", "--out", "arm.yaml")
    assert ended.code == 0, ended
    written = Path("arm.yaml").read_text()
    assert "name: arm" in written and written in ended.out.replace("\n\n", "\n")
    Path("arm.yaml").write_text("corrected")
    ended = softctl("describe", "run.csv", "--out", "arm.yaml")
    assert ended.code == MISTAKEN and "is there already" in ended.error()
    assert Path("arm.yaml").read_text() == "corrected"


def test_a_csv_file_needs_a_robot_and_only_one(softctl):
    Path("run.csv").write_text("t_s,u0\n0,1\n1,2\n")
    said = softctl("train", "run.csv").error()
    assert "name it with --rig NAME or --robot FILE" in said
    assert softctl("train", "run.csv", "--robot", "none.yaml").error().endswith("no such file")
    both = softctl("train", "run.csv", "--rig", "tendon", "--robot", "a.yaml")
    assert both.code == MISTAKEN and "give one of them" in both.error()
    missing = softctl("train", "run.csv", "--rig", "tendon")
    assert missing.code == MISTAKEN and "missing column u0_deg" in missing.error()
