"""pyOCD itself, from its session to the debug port's registers, and a chip behind those."""

from __future__ import annotations

import pytest

pytest.importorskip("pyocd", reason="needs pip install soft_control[flash]")

from pyocd.core.session import Session

from soft_control.supply.flash import FlashError, write_image
from soft_control.supply.image import read_image
from soft_control.supply.swd import TARGET, swd

from .boards import FLASH, START, Registers, image_bytes, write_elf
from .probe import Probe


def session_of(chip: Registers) -> Session:
    options = {"target_override": TARGET, "connect_mode": "attach", "resume_on_disconnect": False}
    return Session(Probe(chip), options=options, no_config=True)


def test_an_image_goes_over_the_wire_and_is_read_back(tmp_path):
    image = read_image(write_elf(tmp_path / "firmware.elf", image_bytes(20_000)))
    chip = Registers()
    with swd(session=session_of(chip)) as way:
        before = chip.resets
        write_image(way, image, FLASH)
    assert chip.memory.read(START, len(image.content)) == image.content
    assert chip.memory.erased == [0, 1]
    assert chip.resets == before + 1


def test_no_probe_is_a_mistake_in_one_line(monkeypatch):
    from pyocd.core.helpers import ConnectHelper

    monkeypatch.setattr(ConnectHelper, "get_all_connected_probes", lambda **_: [])
    with (
        pytest.raises(FlashError, match="debug probes that are there: none; connect one, or name"),
        swd(),
    ):
        pass
