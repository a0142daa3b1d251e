"""docs/tutorials/new_message.md, done in a copy of the project: a host's PING and its answer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorials" / "new_message.md"
BLOCK = re.compile(r'^```\w+ title=(\S+) after="([^\n]*)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
FILES = [
    "docs/protocol.md",
    "firmware/src/loop/answers.c",
    "firmware/src/wire/message.h",
    "soft_control/link/messages.py",
    "test/firmware/vectors.json",
]
"""All that a message needs."""

PROGRAM = '''
"""A session sends PING to a firmware in process; the frames are those of the vectors."""
import json
import sys
from pathlib import Path

from soft_control.firmware_build import build
from soft_control.firmware_files import read_build
from soft_control.link.session import LinkError, McuSession
from soft_control.link.transport import SilTransport
from soft_control.link.framing import encode_frame
from soft_control.link.messages import MESSAGES, Ping, Pong, Sizes

model, out, vectors, before = sys.argv[1:]
vectors = json.loads(Path(vectors).read_text())
sizes = Sizes(**vectors["sizes"])
for row in vectors["table"]:
    assert MESSAGES[row["type"]].__name__ == row["message"]
    assert list(MESSAGES[row["type"]].lengths(sizes)) == row["lengths"]
frames = {v["name"]: bytes.fromhex(v["frame"]) for v in vectors["messages"]}
assert encode_frame(Ping(7).encode(sizes)) == frames["ping"]

from soft_control.control.mpc_settings import MpcSettings
settings = MpcSettings.model_validate_json(Path(before, "settings.json").read_text())
built = build(model, settings, out, ("host",))
transport = SilTransport(built.library, clock=lambda: 1.5)
with McuSession(transport, build_id=built.build_id) as session:
    assert session.request(Ping(7)) == Pong(7, 1_500_000)
    session.arm((0.0, 0.0), (0.0, 0.0, 0.0))
    assert session.request(Ping(2**32 - 1)) == Pong(2**32 - 1, 1_500_000)
transport.write(frames["ping"])
assert transport.read(0.0) == frames["pong"]

with McuSession(SilTransport(read_build(before).library)) as session:
    try:
        session.request(Ping(7))
    except LinkError as error:
        assert "refused PING: unknown type" in str(error), error
    else:
        raise AssertionError("a firmware without PING answered it")
'''


def blocks() -> list[tuple[str, str, str]]:
    """(file, line, text that goes behind the line), in their order."""
    return BLOCK.findall(TUTORIAL.read_text(encoding="utf-8"))


def test_the_tutorial_names_the_files_that_it_changes():
    text = TUTORIAL.read_text(encoding="utf-8")
    listed = re.findall(r"^    (\S+/\S+\.\w+) {2,}", text, re.MULTILINE)
    assert sorted(listed) == FILES == sorted({file for file, _, _ in blocks()})


def test_a_ping_as_the_tutorial_adds_it_is_answered(firmware, model_dir, settings, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in (
        "package.xml",
        "config",
        "soft_control",
        "nn4mc_codegen",
        "firmware",
        "docs",
        "test",
    ):
        source, target = ROOT / name, copy / name
        if name == "nn4mc_codegen":  # nothing in it is changed
            target.symlink_to(source)
        elif source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.svg"))
        else:
            shutil.copy(source, target)
    for file, line, text in blocks():
        path = copy / file
        lines = path.read_text(encoding="utf-8").split("\n")
        assert lines.count(line) == 1, f"{file}: {line!r} stands there {lines.count(line)} times"
        at = lines.index(line) + 1
        lines[at:at] = text.removesuffix("\n").split("\n")
        path.write_text("\n".join(lines), encoding="utf-8")
    old = firmware.directory  # a firmware without PING
    (tmp_path / "old").mkdir()
    for path in old.glob("*"):
        if path.is_file():
            shutil.copy(path, tmp_path / "old")
    (tmp_path / "old" / "settings.json").write_text(settings.model_dump_json())
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    arguments = [
        model_dir,
        tmp_path / "build",
        copy / "test/firmware/vectors.json",
        tmp_path / "old",
    ]
    done = subprocess.run(
        [sys.executable, str(program), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(copy)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
