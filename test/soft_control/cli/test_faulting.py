"""softctl faults: which there are, which are chosen, and mistakes; what it tries has its tests in
test/firmware/loop/test_faults.py."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_the_list_has_a_line_for_each_fault(softctl):
    ended = softctl("faults", "--list", "sensor_all_*")
    assert ended.code == 0 and "2 faults" in ended.out  # in simulated time alone
    assert "sensor_all_dead" in ended.out and "host_silent" not in ended.out


def test_a_file_of_ones_own_takes_the_place_of_the_projects(softctl):
    Path("mine.yaml").write_text("faults:\n  - {name: mine_alone, what: reset, stand: sil}\n")
    ended = softctl("faults", "--list", "mine.yaml")
    assert ended.code == 0 and "mine_alone" in ended.out and "1 faults" in ended.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus_*"], "no fault 'bogus_*': `softctl faults --list` says which there are"),
        (["--stand", "moon"], "--stand: 'moon' is none of sil, pil, session, graph"),
        (["sensor_silent", "--stand", "graph"], "none of these faults is of the stands graph"),
        (["nowhere.yaml"], "nowhere.yaml: no such file of faults"),
        (["sensor_silent", "--model", "nowhere"], "nowhere"),
        (["sensor_silent", "--rig", "bogus", "--model", "nowhere"], "bogus"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(arguments, said, softctl):
    assert said in softctl("faults", *arguments).mistake()
    assert not list(Path().iterdir())
