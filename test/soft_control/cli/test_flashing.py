"""softctl flash and keep, against a boot loader and a firmware on pseudo-terminals."""

from __future__ import annotations

import json

from soft_control.supply.image import read_image

from ..supply.boards import START, BootLoader, image_bytes, write_build


def test_softctl_flash_writes_a_build(tmp_path, softctl):
    board = BootLoader()
    folder = write_build(tmp_path, image_bytes())
    out = softctl("flash", str(folder), "--by", "serial", "--port", board.port).out
    image = read_image(folder / "firmware.elf")
    assert board.memory.read(START, len(image.content)) == image.content
    assert out.splitlines()[-1] == "stm32f405 runs build fedcba9876543210 of model 0123456789abcdef"


def test_softctl_flash_refuses_what_is_wrong_before_it_opens_anything(tmp_path, softctl):
    folder = write_build(tmp_path, image_bytes())
    words = ["flash", str(folder), "--by", "serial"]
    assert "--port" in softctl(*words).mistake()
    assert "--port" in softctl("flash", str(folder), "--by", "swd", "--port", "x").mistake()
    port = ["--port", str(tmp_path / "none")]
    damaged = bytearray(image_bytes())
    damaged[30_000] ^= 4
    write_build(tmp_path, bytes(damaged))
    assert "its image is damaged: build it again" in softctl(*words, *port).mistake()
    write_build(tmp_path, image_bytes(board="mps2-an386"))
    assert "nobody can write to mps2-an386; there are stm32f405" in softctl(*words, *port).mistake()
    write_build(tmp_path, image_bytes())
    record = json.loads((tmp_path / "firmware.json").read_text())
    (tmp_path / "firmware.json").write_text(json.dumps(record | {"model_hash": "0" * 16}))
    assert "its image is of model 0123456789abcdef" in softctl(*words, *port).mistake()
