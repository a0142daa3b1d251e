"""Whatever stands in a file that softctl reads, a mistake is one line that names the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

CONTENTS = {
    "empty": b"",
    "blank": b" \n\t\n",
    "brace": b"{",
    "null": b"null",
    "list": b"[1, 2]",
    "text": b'"x"',
    "number": b"1",
    "nan": b"NaN",
    "bytes": bytes(range(256)),
    "utf-16": "{}".encode("utf-16"),
    "not utf-8": b'{"rig": "\xff"}',
    "nul": b'{"rig": "a\x00b"}',
    "deep lists": b"[" * 100_000,
    "deep mappings": b'{"a": ' * 20_000,
    "twice": b'{"a": 1}{"a": 1}',
    "empty object": b"{}",
    "unknown field": b'{"\\u001b[2J\\nfield": 1}',
    "huge number": b'{"rate_hz": ' + b"9" * 5000 + b"}",
    "infinity": b'{"rate_hz": 1e999}',
}
YAML = {
    "tag": b"!!python/object/apply:os.system ['touch ran']",
    "new": b"a: !!python/object/new:os.system ['touch ran']",
    "aliases": b"a: &a [x]\n"
    + b"".join(b"%c: &%c [*%c, *%c]\n" % (c + 1, c + 1, c, c) for c in range(97, 121)),
    "tabs": b"a:\n\t- 1",
    "colons": b"a: b: c",
    "documents": b"---\na: 1\n---\nb: 2\n",
    "keys": b"1: 2\n[3]: 4\n",
    "yes": b"rate_hz: yes\nrecord: no\n",
    "merge": b"<<: 1",
    "date": b"rate_hz: 2001-01-01",
}


@pytest.fixture
def folder(softctl) -> Path:
    """The folder in which softctl runs."""
    return Path.cwd()


def write_run(folder: Path) -> Path:
    """A folder that looks like a run's."""
    run = folder / "run"
    run.mkdir()
    return run / "experiment.json"


def write_model(folder: Path) -> Path:
    """One that looks like a model's."""
    model = folder / "model"
    model.mkdir()
    (model / "fk.keras").write_bytes(b"PK")
    return model / "fk.json"


@pytest.mark.parametrize("content", CONTENTS)
def test_experiment_json(content, softctl, folder):
    write_run(folder).write_bytes(CONTENTS[content])
    line = softctl("report", "run").mistake()
    assert "run/experiment.json" in line and len(line) < 1100


@pytest.mark.parametrize("command", ["codegen", "build", "check-model"])
@pytest.mark.parametrize("content", CONTENTS)
def test_model_card(command, content, softctl, folder):
    write_model(folder).write_bytes(CONTENTS[content])
    line = softctl(command, "model").mistake()
    assert "model/fk.json" in line and len(line) < 1100


@pytest.mark.parametrize("content", {**CONTENTS, **YAML})
def test_benchmark_parameters(content, softctl, folder):
    Path("msd.yaml").write_bytes((CONTENTS | YAML)[content])
    line = softctl("benchmark", "msd", "--parameters", "msd.yaml", "--out", "docs").mistake()
    assert line.startswith("msd.yaml: ") and len(line) < 1100
    assert not Path("ran").exists() and not Path("docs").exists()


def test_each_value_of_the_benchmark_is_checked_before_it_starts(softctl, folder):
    from soft_control import paths

    good = yaml.safe_load(paths.config("msd_benchmark").read_text(encoding="utf-8"))
    for key in good:
        for bad in (None, "x", -1, float("nan"), float("inf"), [], {"x": 1}, [[]]):
            Path("msd.yaml").write_text(yaml.safe_dump(good | {key: bad}))
            line = softctl("benchmark", "msd", "--parameters", "msd.yaml").mistake()
            assert line.startswith(f"msd.yaml: {key}"), (key, bad)


@pytest.mark.parametrize("content", CONTENTS)
def test_firmware_json(content, softctl, folder, tendon):
    shutil.copytree(tendon.firmware, "firmware", ignore=shutil.ignore_patterns("obj", "*.c"))
    Path("firmware/firmware.json").write_bytes(CONTENTS[content])
    for command in (["run"], ["replay", write_csv()]):
        arguments = [*command, "--target", "sil", "--firmware", "firmware"]
        line = softctl(*arguments, "--model", tendon.model).mistake()
        assert "firmware" in line and len(line) < 1100
    assert not Path("runs").exists()


@pytest.mark.parametrize("content", [*CONTENTS, *YAML])
def test_metadata_of_a_bag(content, softctl, folder):
    Path("bag").mkdir()
    Path("bag/metadata.yaml").write_bytes((CONTENTS | YAML)[content])
    line = softctl("train", "bag", "--rig", "tendon").mistake()
    assert "bag" in line and len(line) < 1100
    assert not Path("ran").exists() and not Path("models").exists()


@pytest.mark.parametrize("content", CONTENTS)
def test_recordings_in_csv(content, softctl, folder):
    Path("run.csv").write_bytes(CONTENTS[content])
    line = softctl("train", "run.csv", "--rig", "tendon").mistake()
    assert line.startswith("run.csv") and len(line) < 1100
    assert not Path("models").exists()


def write_csv() -> str:
    """A short recording of the tendon rig."""
    rows = [f"{k / 120:.6f},0,0,0,0,0" for k in range(60)]
    Path("run.csv").write_text("\n".join(["t_s,u0_deg,u1_deg,x_m,y_m,z_m", *rows]) + "\n")
    return "run.csv"


@pytest.mark.parametrize("value", [None, "x", -1, 1e300, [], {}, [[]], True, "\x1b[2J"])
def test_each_value_of_a_model_card(value, softctl, folder, tendon_model):
    """A card of another type or range is refused by name, or is one that a network may have."""
    shutil.copytree(tendon_model.model, "model")
    card = json.loads(Path("model/fk.json").read_text())
    for key in card:
        Path("model/fk.json").write_text(json.dumps(card | {key: value}))
        ended = softctl("codegen", "model", "--out", "c")
        if ended.code:
            line = ended.mistake()
            assert "model/fk" in line, (key, line)
        assert ended.out.isprintable() or "\n" in ended.out
