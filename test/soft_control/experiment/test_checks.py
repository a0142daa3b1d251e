"""What must fit before a run may start: wirings and cuts; all else is tested where it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from soft_control.control.controllers import CONTROLLERS
from soft_control.experiment.checks import (
    check_counts,
    check_lead,
    check_measured,
    check_wiring,
    cut_of,
)
from soft_control.firmware_files import FirmwareBuild


@pytest.mark.parametrize(
    ("cut", "from_s", "for_s"),
    [("", 0.0, 0.0), ("4@8", 8.0, 4.0), (" 0.5 @ 1e-1", 0.1, 0.5), ("11.9@8", 8.0, 11.9)],
)
def test_a_cut_is_how_long_and_from_when(cut, from_s, for_s):
    assert cut_of(cut, 20.0) == (from_s, for_s)


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        *((cut, "is not how long @ from when, in s, such as 4@8") for cut in (
            "4", "@", "4@", "@8", "4@8@2", "four@8", "nan@8", "4@inf", "-4@8", "0@8", "4@0", "4@-1",
        )),
        ("12@8", "is cut until 20 s, but the run ends at 20 s: nobody would see it come back"),
        ("1@30", "is cut until 31 s, but the run ends at 20 s"),
    ],
)  # fmt: skip
def test_what_is_no_cut_is_named(cut, said):
    with pytest.raises(ValueError, match=said) as refused:
        cut_of(cut, 20.0)
    assert "\n" not in str(refused.value)


ALLOWED = {
    ("mpc", "mcu", "sil", "4@8"),
    ("mpc", "mcu", "pil", "4@8"),
    ("pid", "mcu", "sil", ""),
    ("pid", "mcu", "pil", ""),
    ("pid_feedforward", "mcu", "sil", ""),
    ("pid_feedforward", "mcu", "pil", ""),
    *((name, "host", target, "") for name in CONTROLLERS for target in ("sil", "pil", "hil")),
    *(("mpc", "mcu", target, "") for target in ("sil", "pil")),
}
WHY = (
    "a cut needs --wiring mcu",
    "no line to the instrument ports of a board",
    "acts on the signals, which the microcontroller has",
    "is on the host: a cut would be its end",
)


@pytest.mark.parametrize("name", CONTROLLERS)
@pytest.mark.parametrize("wiring", ["host", "mcu"])
@pytest.mark.parametrize("target", ["sil", "pil", "hil"])
@pytest.mark.parametrize("cut", ["", "4@8"])
def test_who_can_be_at_the_lines_of_the_instruments(name, wiring, target, cut):
    entry = CONTROLLERS[name]
    if (name, wiring, target, cut) in ALLOWED:
        check_wiring(entry, wiring, target, cut)
        return
    with pytest.raises(ValueError) as refused:
        check_wiring(entry, wiring, target, cut)
    assert any(said in str(refused.value) for said in WHY)
    if wiring == "mcu" and target != "hil":
        assert entry.title in str(refused.value)


def test_at_the_microcontroller_who_is_on_the_host_acts_on_what_is_measured():
    """Where nobody measures, it would never be asked; the signals come with the commands."""
    for name in ("static_inverse", "excitation"):
        check_measured(CONTROLLERS[name], {}, "host")
        with pytest.raises(ValueError, match="acts on measured outputs, and nobody measures them"):
            check_measured(CONTROLLERS[name], {}, "mcu")
    check_measured(CONTROLLERS["mpc"], {}, "mcu")
    with pytest.raises(ValueError, match="PID feedforward acts on measured outputs"):
        check_measured(CONTROLLERS["pid_feedforward"], {}, "host")


@pytest.mark.parametrize(("lead_s", "fits"), [(0.0, True), (0.25, True), (0.2501, False)])
def test_a_lead_is_within_what_is_told(lead_s, fits):
    given = {"lead_s": lead_s, "preview": 30}
    if fits:
        return check_lead(CONTROLLERS["static_inverse"], given, 120.0)
    with pytest.raises(ValueError, match="preview of the node static_inverse is 30 samples"):
        check_lead(CONTROLLERS["static_inverse"], given, 120.0)


def test_a_firmware_and_the_sensor_mean_the_same_by_a_count(robot):
    known = robot()  # 100 counts are 1
    fields = dict(directory=Path("fw"), model_hash="0" * 16, build_id="0" * 16, horizon=5)
    said = FirmwareBuild(**fields, compilers={}, signal_names=["s"], robot=known)
    blind = FirmwareBuild(**fields, compilers={}, signal_names=[], robot=known)
    silent = FirmwareBuild(**fields, compilers={}, signal_names=["s"])
    finer = known.calibrated([1000.0])
    for build, sensor in ((said, known), (blind, finer), (silent, finer)):
        check_counts(build, Path("fw"), sensor, "the rig twin", "build it again")
    wanted = "s is 1 at 100 counts for the firmware in fw, and at 1000 for the sensor of the rig t"
    with pytest.raises(ValueError, match=f"^{wanted}win: build it again$"):
        check_counts(said, Path("fw"), finer, "the rig twin", "build it again")
