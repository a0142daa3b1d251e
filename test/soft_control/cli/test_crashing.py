"""softctl crash, with a folder as `softctl build` leaves it."""

from __future__ import annotations

import json
import subprocess

from soft_control.firmware_crash import CrashRecord
from soft_control.firmware_files import BUILD_FILE

RECORD = {"model_hash": "0" * 16, "build_id": "1" * 16, "horizon": 12, "compilers": {"host": "gcc"}}


def test_a_record_is_explained_by_the_builds_elf(softctl, tmp_path):
    (tmp_path / BUILD_FILE).write_text(json.dumps(RECORD))
    (tmp_path / "some.c").write_text("int main(void) { return 0; }\n")
    command = ["gcc", "-g", "-no-pie", "some.c", "-o", "firmware.elf"]
    subprocess.run(command, cwd=tmp_path, check=True)
    record = CrashRecord(4, 0, 0, 0, 1 << 17, 0, 12)
    said = softctl("crash", str(tmp_path), "--record", record.hex()).out
    assert "ended by a usage fault" in said and "INVSTATE" in said and "12 bytes" in said


def test_mistakes_are_one_line(softctl, tmp_path):
    record = "00" * 25
    assert "no firmware.json" in softctl("crash", str(tmp_path), "--record", record).mistake()
    (tmp_path / BUILD_FILE).write_text(json.dumps(RECORD))
    assert "firmware.elf" in softctl("crash", str(tmp_path), "--record", record).mistake()
    assert "no crash record" in softctl("crash", str(tmp_path), "--record", "xy").mistake()
