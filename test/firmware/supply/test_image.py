"""A firmware that is damaged, or another board's, drives nothing and says so; nobody starts it."""

from __future__ import annotations

import ctypes
import shutil
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from soft_control.link.codes import Cause, ErrorCode, State
from soft_control.link.errors import LinkError, ModelMismatch, check_identity
from soft_control.link.framing import FrameDecoder, encode_frame
from soft_control.link.messages import Arm, Error, Hello, Info, Stop, decode
from soft_control.link.opening import open_session
from soft_control.link.transport import PilTransport, Port, SilTransport
from soft_control.supply.image import ImageError, image_of, read_image

from .damage import damaged, header_at, renamed

SIZES_OF_ARM = Arm(0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, (0.0, 0.0), (0.0, 0.0, 0.0))
PATIENCE_S = 20.0


def ask(transport, sizes, *messages) -> list:
    """What a firmware says to each, whoever it is."""
    decoder, said = FrameDecoder(), []
    deadline = time.monotonic() + PATIENCE_S
    for message in messages:
        before = len(said)
        while len(said) == before:
            assert time.monotonic() < deadline, f"no answer to {message}"
            transport.write(encode_frame(message.encode(sizes)))
            time.sleep(0.05)
            answers = [decode(content, sizes) for content in decoder.feed(transport.read(0.5))]
            said += [answer for answer in answers if isinstance(answer, (Info, Error))]
        del said[before + 1 :]
    return said


def refuses(transport, sizes, cause: Cause) -> Info:
    """It is in fault because of its image, and nothing but HELLO moves it."""
    info, arm, stop, again = ask(transport, sizes, Hello(), SIZES_OF_ARM, Stop(), Hello())
    assert (info.state, info.cause) == (again.state, again.cause) == (State.FAULT, cause)
    assert arm == Error(ErrorCode.WRONG_IMAGE, Arm.TYPE)
    assert stop == Error(ErrorCode.WRONG_IMAGE, Stop.TYPE)
    with pytest.raises(ModelMismatch, match="runs nothing: image .*: flash a build for it"):
        check_identity(info, None, None)
    return info


@pytest.fixture(scope="module")
def sizes(firmware):
    with open_session("sil", firmware) as session:
        return session.info.sizes


def test_the_header_says_board_model_settings_and_build(firmware):
    files = [firmware.library, *([firmware.elf] if firmware.elf.is_file() else [])]
    for path in files:
        image = read_image(path)
        image.check(firmware.model_hash, firmware.build_id)
        assert image.board == ("host" if path == firmware.library else "stm32f405")
        assert len(image.settings_hash) == 16
    if firmware.elf.is_file():
        assert image.content == firmware.elf.with_suffix(".bin").read_bytes()
        assert image.start == 0x08000000


def test_the_settings_hash_follows_the_settings(firmware, estimating):
    before, after = read_image(firmware.library), read_image(estimating.library)
    assert after.model_hash == before.model_hash
    assert after.settings_hash != before.settings_hash
    assert after.build_id != before.build_id


def test_the_checksum_is_that_of_zlib(c):
    c.lib.crc32_add.restype = ctypes.c_uint32
    for content in (b"", b"\0", b"123456789", bytes(range(256)) * 9):
        assert c.lib.crc32_add(0, content, ctypes.c_size_t(len(content))) == zlib.crc32(content)
    first = c.lib.crc32_add(0, b"1234", ctypes.c_size_t(4))
    assert c.lib.crc32_add(first, b"56789", ctypes.c_size_t(5)) == zlib.crc32(b"123456789")


def test_a_library_that_says_another_board_drives_nothing(firmware, sizes, tmp_path):
    transport = SilTransport(renamed(firmware.library, tmp_path, "stm32f405"))
    refuses(transport, sizes, Cause.IMAGE_OF_OTHER_BOARD)
    transport.write_to(Port.SENSOR, bytes(500))
    safe = transport.read_from(Port.ACTUATOR)
    transport.write_to(Port.SENSOR, bytes(500))
    assert transport.read_from(Port.ACTUATOR) == b""
    good = SilTransport(firmware.library)
    good.crash(1)  # a crash writes the same safe bytes, twice: its handler's and those of the start
    assert good.read_from(Port.ACTUATOR) == 2 * safe


def test_a_library_without_its_magic_number_drives_nothing(firmware, sizes, tmp_path):
    broken = damaged(firmware.library, tmp_path, header_at(firmware.library))
    refuses(SilTransport(broken), sizes, Cause.IMAGE_DAMAGED)


def test_nobody_starts_what_is_damaged_or_anothers(firmware, tmp_path):
    def at(folder: Path):
        return firmware.model_copy(update={"directory": folder})

    names = {"sil": "libfirmware.so", "pil": "firmware.elf"}
    for target, name in names.items():
        if not (firmware.directory / name).is_file():
            continue
        whole = firmware.directory / name
        damaged(whole, tmp_path)
        with pytest.raises(LinkError, match=rf"^{target}: .*{name}: its image is damaged: build"):
            open_session(target, at(tmp_path))
        (tmp_path / name).write_bytes(whole.read_bytes()[:5000])
        with pytest.raises(LinkError, match="(is damaged|has no header.*): build it again"):
            open_session(target, at(tmp_path))
        (tmp_path / name).unlink()
        with pytest.raises(LinkError, match="No such file or directory; build it again"):
            open_session(target, at(tmp_path))
    renamed(firmware.library, tmp_path, "stm32f405")
    with pytest.raises(LinkError, match="for the board stm32f405, not for host"):
        open_session("sil", at(tmp_path))
    other = firmware.model_copy(update={"build_id": "0" * 16})
    with pytest.raises(LinkError, match="its image is of build .*, the record beside it of 0000"):
        open_session("sil", other)


@given(data=st.data())
@hypothesis_settings(max_examples=60, deadline=None)
def test_no_bit_that_turns_passes(firmware, data):
    content = bytearray(firmware.library.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ImageError):
        image_of(Path("x"), 0, bytes(content))


def needs_board(firmware) -> None:
    if not firmware.elf.is_file() or shutil.which("qemu-system-arm") is None:
        pytest.skip("needs arm-none-eabi-gcc and qemu-system-arm")


@pytest.mark.parametrize("where", ["header", "last byte"])
def test_an_emulated_board_refuses_an_image_that_is_damaged(firmware, sizes, tmp_path, where):
    needs_board(firmware)
    at = None
    if where == "last byte":
        image = read_image(firmware.elf).content
        tail = image[-64:].rstrip(b"\0")
        content = firmware.elf.read_bytes()
        assert content.count(tail) == 1
        at = content.find(tail) + len(tail) - 1
    transport = PilTransport(damaged(firmware.elf, tmp_path, at))
    try:
        refuses(transport, sizes, Cause.IMAGE_DAMAGED)
    finally:
        transport.close()


def test_an_emulated_board_refuses_the_image_of_another(firmware, sizes, tmp_path):
    needs_board(firmware)
    transport = PilTransport(renamed(firmware.elf, tmp_path, "stm32f411"))
    try:
        refuses(transport, sizes, Cause.IMAGE_OF_OTHER_BOARD)
    finally:
        transport.close()


def test_a_good_image_on_another_board_is_refused_by_the_chips_own_word(with_ram, sizes):
    """The image for application note 386 runs on 500 as well: the same map of memory, a Cortex-M7.
    Only a register says which it is."""
    transport = PilTransport(with_ram.elf, machine="mps2-an500")
    try:
        refuses(transport, sizes, Cause.IMAGE_OF_OTHER_BOARD)
    finally:
        transport.close()
    open_session("pil", with_ram).close()


def test_the_header_is_found_where_its_number_stands_in_code_too(firmware):
    for path in (firmware.library, firmware.elf):
        if path.is_file():
            content = path.read_bytes()
            assert content[header_at(path) :][:4] == b"CSIM"
