"""setup.py and package.xml name what is there: executables, and what the packages import.

Read from the files; nothing is installed.
"""

from __future__ import annotations

import ast
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OWN = {"soft_control", "nn4mc_codegen"}

KEYS = {
    "aiohttp": "python3-aiohttp",
    "casadi": "casadi-pip",
    "cryptography": "python3-cryptography",
    "flatbuffers": "python3-flatbuffers",
    "h5py": "python3-h5py",
    "jinja2": "python3-jinja2",
    "lz4": "python3-lz4",
    "matplotlib": "python3-matplotlib",
    "numpy": "python3-numpy",
    "pydantic": "python3-pydantic",
    "rich": "python3-rich",
    "rosbags": "python3-rosbags-pip",
    "scipy": "python3-scipy",
    "serial": "python3-serial",
    "setproctitle": "python3-setproctitle",
    "typing_extensions": "python3-typing-extensions",
    "yaml": "python3-yaml",
}
"""Of a module its key in rosdep, where that is not its own name."""
KEYLESS = {
    "ai_edge_litert",
    "cobs",
    "elftools",
    "keras",
    "mujoco",
    "onnx",
    "onnxruntime",
    "optuna",
    "pyarrow",
    "pyocd",
    "tensorflow",
    "tflite",
    "typer",
}
"""Modules for which rosdep has no key (rosdistro of April 2025): docs/install_ros2.md says how they
come."""
CAMPAIGN = {"dask", "distributed", "pyarrow"}
"""Modules of the extra `campaign`, which pip brings into the virtual environment: no node and no
launch file imports them, so they are no dependency of the ROS package."""
PROGRAMS = {"gcc-arm-none-eabi", "robot_state_publisher", "ros2launch", "rviz2"}
"""What is run and not imported."""
DISTRIBUTIONS = {
    "distributed": "dask",
    "elftools": "pyelftools",
    "keras": "tensorflow_cpu",
    "serial": "pyserial",
    "tensorflow": "tensorflow_cpu",
    "yaml": "pyyaml",
}
"""Of a module what pip installs for it, where that has another name."""


def setup_py() -> ast.Module:
    return ast.parse((ROOT / "setup.py").read_text())


def setup_arguments() -> dict[str, ast.expr]:
    (call,) = (
        node
        for node in ast.walk(setup_py())
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
    )
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def bare(requirement: str) -> str:
    """A distribution's name as all write it who compare names."""
    name = re.match(r"[\w.-]+", requirement)[0]
    return re.sub(r"[-_.]+", "_", name).lower()


def requirements() -> dict[str, set[str]]:
    """Extra, empty for none -> distributions."""
    arguments = setup_arguments()
    listed = {"": ast.literal_eval(arguments["install_requires"])}
    listed |= ast.literal_eval(arguments["extras_require"])
    return {extra: {bare(one) for one in names} for extra, names in listed.items()}


def depends(kind: str) -> set[str]:
    return {depend.text for depend in ET.parse(ROOT / "package.xml").getroot().iter(kind)}


def optional(tree: ast.Module) -> set[ast.AST]:
    """Imports that a file can do without: those within `try: … except ImportError`."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        and any("ImportError" in ast.dump(h.type) for h in node.handlers if h.type)
        for line in node.body
        for inner in ast.walk(line)
    }


def imported(*folders: str, all_of_them: bool = True) -> Iterator[str]:
    """Modules of others that files import, wherever in the file."""
    for path in sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text())
        dispensable = set() if all_of_them else optional(tree)
        for node in ast.walk(tree):
            if node in dispensable:
                continue
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            tops = {name.partition(".")[0] for name in names}
            yield from tops - OWN - set(sys.stdlib_module_names)


def test_every_node_is_an_executable_and_nothing_else_is():
    """Listed and not globbed: a module that somebody leaves in the folder is not offered."""
    nodes = next(
        ast.literal_eval(node.value)
        for node in ast.walk(setup_py())
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "NODES"
    )
    with_main = [
        path.stem
        for path in (ROOT / "soft_control" / "nodes").glob("[a-z]*.py")
        if re.search(r"^def main\(\) -> None:$", path.read_text(), re.M)
    ]
    assert list(nodes) == sorted(with_main)


def test_every_folder_that_share_needs_is_installed():
    trees = {
        ast.literal_eval(node.args[0])
        for node in ast.walk(setup_arguments()["data_files"])
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tree"
    }
    assert {"config", "firmware", "launch", "urdf"} <= trees
    assert all(any((ROOT / folder).rglob("*")) for folder in trees)


def test_package_xml_has_what_is_imported():
    needed = set(imported("soft_control", "nn4mc_codegen", "launch")) - KEYLESS - CAMPAIGN
    assert not CAMPAIGN & set(imported("soft_control/nodes", "soft_control/experiment", "launch"))
    keys = {KEYS.get(module, module) for module in needed}
    known = depends("exec_depend") | depends("test_depend")
    assert not keys - known, "package.xml lacks them"
    assert not depends("exec_depend") - keys - PROGRAMS, "nothing imports them"
    assert "casadi-pip" not in depends("exec_depend")  # comparisons alone need it


def test_nothing_without_a_key_is_forgotten():
    """What is in KEYLESS is imported, and the page on installing says how it comes."""
    assert KEYLESS <= set(imported("soft_control", "nn4mc_codegen"))
    page = (ROOT / "docs" / "install_ros2.md").read_text()
    assert "pip install" in page and "rosdep install" in page


def test_setup_py_has_what_is_imported():
    """ROS's own are those of package.xml; a system ROS 2 brings them, or the extra `ros` does."""
    needed = set(imported("soft_control", "nn4mc_codegen", all_of_them=False)) - of_ros()
    distributions = {DISTRIBUTIONS.get(module, bare(module)) for module in needed}
    assert not distributions - set().union(*requirements().values()), "setup.py lacks them"


def of_ros() -> set[str]:
    return {key for key in depends("exec_depend") if not key.startswith("python3-")}


def test_the_wheels_of_ros_are_those_that_are_imported():
    """rclpy's own wheel brings two of them; the launch tools have none, and launch files alone
    import what needs them."""
    brought = {"rcl_interfaces", "builtin_interfaces", "launch", "launch_ros"}
    needed = set(imported("soft_control", all_of_them=False)) & of_ros() - brought
    assert not {f"ros_{module}" for module in needed} - requirements()["ros"]


def test_versions_of_the_two_files_agree():
    version = ET.parse(ROOT / "package.xml").getroot().findtext("version")
    assert ast.literal_eval(setup_arguments()["version"]) == version
