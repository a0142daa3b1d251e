"""What checks say of options, as somebody reads it who wrote arguments of a launch file."""

from __future__ import annotations

import pytest

from soft_control.experiment.launch_words import as_arguments


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("x is no folder: choose another --out", "x is no folder: choose another out:="),
        ("--port /dev/ttyACM0: No such file", "port:=/dev/ttyACM0: No such file"),
        ("--port /dev/tty is for hil", "port:=/dev/tty is for hil"),
        ("a cut needs --wiring mcu: in host", "a cut needs wiring:=mcu: in host"),
        ("--wiring mcu on hil: no line", "wiring:=mcu on hil: no line"),
        ("has in --wiring mcu: choose --wiring host", "has in wiring:=mcu: choose wiring:=host"),
        ("name its serial port with --port", "name its serial port with port:="),
        ("use --no-sim, or leave it out", "use sim:=false, or leave it out"),
        ("--no-sim needs the robot's", "sim:=false needs the robot's"),
        ("nobody measures them: use --tracker", "nobody measures them: use tracker:=true"),
        ("--load is put on a rig", "load:= is put on a rig"),
        ("find it with `softctl tune --controller pid` or", None),
        ("learned from recordings, --rig DIR", "learned from recordings, rig:=DIR"),
        ("20 -- 30 and a--b", None),
    ],
)
def test_options_become_arguments(said, read):
    assert as_arguments(said) == (read or said)
