"""Names that nobody would choose, on the whole way from a description to a run: they stay names.

Commands, outputs and signals of a robot are called what make, C, YAML, a shell or ROS would act on.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from soft_control.experiment.bringup import NodeSpec
from soft_control.experiment.runner import parameter_file, ros_domain
from soft_control.firmware_build import build
from soft_control.firmware_files import check_names, read_build
from soft_control.learning.card import load_card
from soft_control.link.opening import open_session
from soft_control.supply.image import read_image

HOSTILE = [
    '"; touch ran; "', "$(touch ran)", "`touch ran`", "*/ int x; /*", "??/", "1e3", "#error",
    "\xa0", "{{ 7 * 7 }}", "!!python/object/apply:os.system [x]", "&a *a", "- : {", "~", "yes",
    "<script>alert(1)</script>", "../../etc/passwd", "-rf", "a b\\", "$(shell touch ran)", "'",
    "%s%n",
]  # fmt: skip


def hostile_model(model_dir: Path, folder: Path) -> Path:
    """The test's model, whose robot's names are the hostile ones."""
    shutil.copytree(model_dir, folder)
    card = json.loads((folder / "fk.json").read_text())
    names = iter(name for name in HOSTILE if name.isprintable())
    kinds = ("commands", "outputs", "signals")
    new = {one["name"]: next(names) for kind in kinds for one in card["robot"][kind]}

    def renamed(value):
        """Wherever they stand: in columns, links, and as keys."""
        if isinstance(value, dict):
            return {renamed(key): renamed(one) for key, one in value.items()}
        if isinstance(value, list):
            return [renamed(one) for one in value]
        return new.get(value, value) if isinstance(value, str) else value

    card = renamed(card)
    for kind in kinds:  # x, y and z are also what axes are called
        for one in card["robot"][kind]:
            if "axis" in one:
                one["axis"] = {v: k for k, v in new.items()}.get(one["axis"], one["axis"])
    (folder / "fk.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="module")
def walked(model_dir, settings, tmp_path_factory):
    """(model, build, where it was done)"""
    folder = tmp_path_factory.mktemp("walk")
    before = os.getcwd()
    os.chdir(folder)
    try:
        model = hostile_model(model_dir, Path("$(touch ran) model"))
        built = build(model, settings, Path("build; touch ran"), ("host",))
    finally:
        os.chdir(before)
    return folder / model, folder / built.directory, folder


def test_a_build_keeps_the_names_and_does_nothing_with_them(walked, firmware):
    model, out, folder = walked
    card, built = load_card(model), read_build(out)
    assert not list(folder.rglob("ran"))
    assert list(built.robot.command_names) == list(card.command_names)
    assert list(built.signal_names) == list(card.signal_names)
    assert {*built.robot.command_names, *built.robot.output_names} < set(HOSTILE)
    check_names(built, card.command_names, card.output_names, card.signal_names)
    with pytest.raises(ValueError, match="it has the commands") as refused:
        check_names(built, ["a"], card.output_names, card.signal_names)
    assert str(refused.value).isprintable()
    library = read_image(built.library)
    library.check(built.model_hash, built.build_id)
    for name in built.robot.command_names:  # they are in comments alone
        assert name.encode() not in library.content
    with open_session("sil", built) as session:
        assert session.info.model_hash == firmware.model_hash


@pytest.mark.parametrize("name", HOSTILE)
def test_parameters_of_a_node_are_the_texts_that_were_given(name):
    spec = NodeSpec("mcu", {"command_names": [name, name], "port": name}, "/left")
    read = yaml.safe_load(parameter_file(spec))
    assert read == {"/left/mcu": {"ros__parameters": {"command_names": [name] * 2, "port": name}}}


@given(st.text(max_size=30))
@hypothesis_settings(max_examples=100, deadline=None)
def test_any_parameter_is_the_text_that_was_given(text):
    (read,) = yaml.safe_load(parameter_file(NodeSpec("mcu", {"port": text}))).values()
    assert read == {"ros__parameters": {"port": text}}


def test_ros_reads_the_same(tmp_path):
    """Its own parser, which is no YAML library."""
    rclpy = pytest.importorskip("rclpy")
    file = tmp_path / "parameters.yaml"
    file.write_text(parameter_file(NodeSpec("hostile", {"names": HOSTILE})))
    context = rclpy.Context()
    with ros_domain():
        rclpy.init(context=context, args=["--ros-args", "--params-file", str(file)])
        try:
            node = rclpy.create_node(
                "hostile", context=context, automatically_declare_parameters_from_overrides=True
            )
            assert list(node.get_parameter("names").value) == HOSTILE
            node.destroy_node()
        finally:
            context.try_shutdown()
