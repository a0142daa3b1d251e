"""What no source of the project does: run what stands in a file, or leave a door to its own files.

Read from the sources as they stand; each exception is named with its reason.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for folder in ("soft_control", "nn4mc_codegen", "launch", "firmware", "bench")
    for path in (ROOT / folder).rglob("*.py")
)

OWN_CHILD = "between a process and the child that it has started"
PICKLES = {
    "nn4mc_codegen/importers/isolation.py": OWN_CHILD,
    "nn4mc_codegen/trial/source_process.py": OWN_CHILD,
    "nn4mc_codegen/trial/reference.py": OWN_CHILD,
}
SAFE_LOADERS = {"soft_control/robots/config_files.py": "_Loader, a SafeLoader"}
"""Modules that call yaml.load, with a loader of their own."""


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@functools.cache
def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Each call, by the name that is called: `yaml.load`, `eval`."""
    return [(_dotted(node.func), node) for node in nodes_of(path) if isinstance(node, ast.Call)]


def _dotted(node: ast.expr) -> str:
    """a.b.c, or what comes last of anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([*([node.id] if isinstance(node, ast.Name) else []), *reversed(parts)])


def found(names: set[str], ignored: dict[str, str] | None = None) -> list[str]:
    places = []
    for path in SOURCES:
        where = path.relative_to(ROOT).as_posix()
        if where not in (ignored or {}):
            places += [f"{where}:{call.lineno}" for name, call in calls(path) if name in names]
    return places


def words(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def test_nothing_is_evaluated_and_no_shell_is_started():
    assert not found({"eval", "exec", "compile", "os.system", "os.popen", "__import__"})
    assert not found({"subprocess.getoutput", "subprocess.getstatusoutput"})
    shells = [
        f"{path}:{call.lineno}"
        for path in SOURCES
        for _, call in calls(path)
        if words(call).get("shell", "False") != "False"
    ]
    assert not shells


def test_yaml_makes_no_objects():
    assert not found(
        {"yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all"}
    )
    assert not found({"yaml.load"}, SAFE_LOADERS)


def test_nothing_is_unpickled_but_what_a_child_of_ours_has_said():
    assert not found({"pickle.load", "pickle.loads", "marshal.loads", "shelve.open"}, PICKLES)
    assert not found({"joblib.load", "torch.load", "pandas.read_pickle"})
    for path in SOURCES:
        for name, call in calls(path):
            if name in ("np.load", "numpy.load"):
                assert words(call).get("allow_pickle") == "False", f"{path}:{call.lineno}"


def test_archives_are_read_and_never_unpacked():
    names = {call for path in SOURCES for call, _ in calls(path)}
    assert not {name for name in names if name.endswith((".extractall", "shutil.unpack_archive"))}


def test_temporary_files_have_names_that_nobody_foresees():
    assert not found({"tempfile.mktemp", "os.tempnam", "os.tmpnam", "tempfile.gettempdir"})
    only_read = ["bench/soak.py"]  # looks at what Fast DDS leaves
    named = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if path.relative_to(ROOT).as_posix() not in only_read
        for node in nodes_of(path)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(("/tmp", "/var/tmp", "/dev/shm/"))
    ]
    assert not named


@pytest.mark.parametrize("exceptions", [PICKLES, SAFE_LOADERS], ids=["pickle", "yaml"])
def test_each_exception_is_one(exceptions):
    names = {"pickle.load", "pickle.loads", "pickle.dumps", "pickle.dump", "yaml.load"}
    assert {place.partition(":")[0] for place in found(names)} >= set(exceptions)
