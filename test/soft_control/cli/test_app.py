"""Every command, from its help to its mistakes: one line on stderr, exit code 2, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from soft_control.cli.app import BAGS, BENCHMARKS, COMMANDS, app

PROJECT = Path(__file__).resolve().parents[3]
SOFTCTL = [sys.executable, "-m", "soft_control.cli"]
PATHS = [
    [],
    *([name] for name in COMMANDS),
    ["benchmark"],
    *(["benchmark", name] for name in BENCHMARKS),
    ["bag"],
    *(["bag", name] for name in BAGS),
]
HEAVY = (
    "nn4mc_codegen",
    "scipy",
    "tensorflow",
    "rclpy",
    "matplotlib",
    "optuna",
    "pyarrow",
    "casadi",
    "h5py",
    "rosbags",
    "distributed",
    "pyarrow",
)
"""Packages that take a second and more together; a command imports the ones that it needs."""


def command_of(path: list[str]):
    """The command object that `path` names."""
    command = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    return command


def options_of(path: list[str], *kinds: type) -> list[str]:
    """Its options whose values are of one of the kinds."""
    return [
        max(parameter.opts, key=len)
        for parameter in command_of(path).params
        if parameter.param_type_name == "option" and isinstance(parameter.default, kinds)
    ]


def arguments_of(path: list[str]) -> list[str]:
    """Something for each argument that must be given."""
    return ["x" for p in command_of(path).params if p.required]


FLOATS = [(path, option) for path in PATHS for option in options_of(path, float)]
SEEDS = [(path, option) for path in PATHS for option in options_of(path, int) if "seed" in option]


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_says_what_a_command_does_and_shows_an_example(path, softctl):
    ended = softctl(*path, "--help")
    assert ended.code == 0 and ended.err == ""
    assert ended.out.startswith(f"Usage: {' '.join(['softctl', *path])} ")
    examples = [
        line
        for line in ended.out.splitlines()
        if line.startswith(f"  {' '.join(['softctl', *path])} ")
    ]
    assert examples
    for parameter in command_of(path).params:
        assert parameter.opts[-1] in ended.out and parameter.help, parameter


def words(example: str) -> list[str]:
    """Words of an example behind `softctl`, without what explains or redirects it."""
    import shlex

    return shlex.split(example.partition("   ")[0].partition(" > ")[0])[1:]


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_examples_are_commands_that_can_be_read(path, tmp_path, monkeypatch):
    """In a folder with the twin that some of them name."""
    (tmp_path / "twins" / "trunk").mkdir(parents=True)
    (tmp_path / "twins" / "trunk" / "twin.json").touch()
    monkeypatch.chdir(tmp_path)
    lines = command_of(path).help.replace("\\\n", " ").splitlines()
    for line in lines:
        if line.strip().startswith("softctl "):
            *group, last = words(line)[: 2 if words(line)[0] in ("benchmark", "bag") else 1]
            command = command_of([*group, last])
            rest = words(line.strip())[len(group) + 1 :]
            with command.make_context(last, rest) as context:
                assert context.params


@pytest.mark.parametrize("path", [[], ["benchmark"]], ids=["softctl", "benchmark"])
def test_a_group_alone_says_its_commands(path, softctl):
    assert softctl(*path).out == softctl(*path, "--help").out


def test_names_of_commands_and_options_do_not_change():
    """Scripts and launch files of users hold them."""
    known = {
        "collect": "--out --rig --runs --duration-s --rate-hz --seed",
        "describe": "--out",
        "parameters": "--robot --set --out",
        "train": "--out --validation --rig --robot --rate-hz --settings",
        "adopt": "--recording --out --validation --robot --rig --settings",
        "twin": "--robot --out --validation --rate-hz --settings",
        "check-model": "--recording --rig --seed --json",
        "codegen": "--out",
        "build": "--out --board",
        "prove": "--model --samples --json",
        "crash": "--record",
        "flash": "--by --port --probe",
        "keep": "--port --do",
        "secure": "--out --namespace --node --topic --days",
        "run": "--rig --controller --target --reference --clock --rate-hz --duration-s --seed "
        "--load --model --firmware --port --out",
        "replay": "--model --firmware --target --port --baseline --out",
        "tune": "--controller --reference --model --rig --duration-s --trials --seed --out",
        "report": "--out",
        "design": "--robot --flash --ram --instructions --mw --part --rig --reference --duration-s "
        "--validation --trials --workers --seed --settings --out",
        "energy": "--part --rate-hz --line-bytes",
        "faults": "--model --rig --stand --list --page --json",
        "campaign": "--scheduler --workers --dry-run --out",
        "benchmark msd": "--out --parameters",
        "benchmark ipopt": "--published --problems --seed --out",
        "benchmark closed-loop": "--reference --duration-s --seed --out",
        "bag recover": "",
        "monitor": "--namespace --domain --robot --port --open",
    }
    assert {" ".join(path) for path in PATHS} == {*known, "", "benchmark", "bag"}
    for name, options in known.items():
        assert set(options.split()) <= set(options_of(name.split(), object)), name


def test_starting_imports_no_package_that_only_some_commands_need():
    code = (
        "import sys; from soft_control.cli.app import app; from soft_control.cli import terminal; "
        "terminal.carry_out(app, 'softctl', ['report', 'nowhere', '--bogus']); "
        f"print([p for p in {HEAVY} if p in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "-1", "x", ""])
@pytest.mark.parametrize(("path", "option"), FLOATS, ids=lambda value: str(value))
def test_a_number_that_makes_no_sense_is_refused_by_name(path, option, value, softctl):
    line = softctl(*path, *arguments_of(path), option, value).mistake()
    assert option in line


@pytest.mark.parametrize("value", ["-1", "1.5", "nan", "", "99999999999999999999999"])
@pytest.mark.parametrize(("path", "option"), SEEDS, ids=lambda value: str(value))
def test_a_seed_is_a_number_from_0_on(path, option, value, softctl):
    line = softctl(*path, *arguments_of(path), option, value).mistake()
    assert option in line


@pytest.mark.parametrize("name", ["--controller", "--target", "--reference", "--clock", "--rig"])
@pytest.mark.parametrize("value", ["", "x", "MPC", "../tendon", "a\nb"])
def test_a_choice_that_there_is_not_is_refused_by_name(name, value, softctl):
    line = softctl("run", name, value).mistake()
    assert line.startswith(f"Invalid value for '{name}': ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bogus"], "No such option: --bogus"),
        (["bogus"], "No such command 'bogus'"),
        (["benchmark", "bogus"], "No such command 'bogus'"),
        (["train"], "Missing argument 'recordings'"),
        (["adopt", "x.onnx"], "name runs of the robot by --recording"),
        (["run", "extra"], "extra"),
        (["run", "--out"], "--out"),
        (["collect", "--runs", "0"], "--runs"),
        (["train", "x", "--settings", "{"], "--settings '{' is no JSON"),
    ],
)
def test_what_cannot_be_read_is_one_line(arguments, said, softctl):
    line = softctl(*arguments).mistake()
    assert said in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "nowhere"],
        ["train", "nowhere.csv"],
        ["train", "empty"],
        ["train", "nowhere.csv", "--validation", "nowhere"],
        ["adopt", "nowhere.onnx", "--recording", "nowhere.csv"],
        ["check-model", "nowhere"],
        ["check-model", "empty"],
        ["codegen", "nowhere"],
        ["codegen", "empty"],
        ["build", "nowhere"],
        ["build", "empty"],
        ["run", "--model", "nowhere"],
        ["run", "--controller", "pid", "--model", "nowhere"],
        ["replay", "nowhere", "--model", "nowhere"],
        ["tune", "--model", "nowhere"],
        ["tune", "--model", "nowhere", "--controller", "pid"],
        ["report", "nowhere"],
        ["report", "empty"],
        ["campaign", "nowhere"],
        ["campaign", "empty"],
        ["benchmark", "msd", "--parameters", "nowhere"],
        ["benchmark", "msd", "--parameters", "empty"],
        ["benchmark", "ipopt", "nowhere"],
        ["benchmark", "ipopt", "--published", "nowhere"],
        ["benchmark", "ipopt"],
        ["benchmark", "closed-loop", "nowhere"],
    ],
    ids=" ".join,
)
def test_a_folder_that_is_not_what_it_should_be_is_named(arguments, softctl):
    Path("empty").mkdir()
    before = sorted(Path().rglob("*"))
    line = softctl(*arguments).mistake()
    wrong = [word for word in arguments if word in ("nowhere", "nowhere.csv", "empty")]
    assert wrong[-1] in line if wrong else "name model directories" in line
    assert sorted(Path().rglob("*")) == before  # nothing was written


OUTS = [path for path in PATHS if path and "--out" in options_of(path, object)]


@pytest.mark.parametrize("path", OUTS, ids=" ".join)
def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(path, softctl):
    Path("file").write_text("x")
    line = softctl(*path, *arguments_of(path), "--out", "file/below/here").mistake()
    assert "file/below/here" in line and "no folder" in line
    assert [p.name for p in Path().iterdir()] == ["file"]


@pytest.mark.parametrize("path", [["tune"], ["report", "x"]], ids=lambda path: path[0])
def test_a_folder_is_no_file_to_write(path, softctl):
    Path("folder").mkdir()
    assert "folder is a folder" in softctl(*path, "--out", "folder").mistake()


SETTINGS = [
    "",
    "{",
    "null",
    "[1, 2]",
    '"x"',
    "1",
    "nan",
    "{'updates': 1}",
    '{"rate_hz": 50}',
    '{"rig": "hasel"}',
    '{"learning_rate": NaN}',
    '{"learning_rate": Infinity}',
    '{"learning_rate": 1e999}',
    '{"difference_gain": Infinity}',
    '{"updates": -1}',
    '{"updates": 1e30}',
    '{"hidden": []}',
    '{"hidden": "x"}',
    '{"a\\u001b[2J\\nb": 1}',
    "[" * 100_000,
    '{"hidden": ' + "[" * 100_000,
]


@pytest.mark.parametrize("settings", SETTINGS, ids=range(len(SETTINGS)))
def test_settings_that_are_none_are_one_line(settings, softctl):
    for command in ("train", "twin"):
        line = softctl(command, "x", "--settings", settings).mistake()
        assert "--settings" in line and len(line) < 1200


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", r"1/2\xe9"), ("latin-1", "½é")])
def test_any_terminal_can_show_help_and_mistakes(encoding, shown, tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(PROJECT)}

    def call(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*SOFTCTL, *arguments],
            capture_output=True,
            env=environment,
            cwd=tmp_path,
            encoding=encoding,
            timeout=60,
        )

    ended = call("train", "--help")
    assert ended.returncode == 0 and ended.stdout.startswith("Usage: softctl train ")
    ended = call("report", "½é")
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {shown} ") and ended.stderr.count("\n") == 1


def test_the_entry_point_is_the_module(tmp_path):
    done = subprocess.run(
        [*SOFTCTL, "report", "no\x1b[31m\nwhere"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        timeout=60,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: no\\x1b[31m\\nwhere ")
    assert done.stderr.count("\n") == 1


def test_a_report_as_json_is_json(softctl, tendon_model):
    ended = softctl("check-model", tendon_model.model, "--json")
    assert json.loads(ended.out)["model_hash"] == tendon_model.card.model_hash
    assert ended.err == ""
