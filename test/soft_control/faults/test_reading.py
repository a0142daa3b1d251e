"""Files of faults: those of the project, and mistakes in one's own."""

from __future__ import annotations

import dataclasses
import re

import pytest

from soft_control.faults.fault import Fault
from soft_control.faults.graph_stand import KINDS as GRAPH_KINDS
from soft_control.faults.injections import INJECTIONS
from soft_control.faults.machine_code import CODES
from soft_control.faults.pil_stand import KINDS as PIL_KINDS
from soft_control.faults.reading import fault_files, read_faults
from soft_control.faults.session_stand import KINDS as SESSION_KINDS
from soft_control.faults.sil_stand import WIRES
from soft_control.faults.wire import DAMAGES
from soft_control.link.messages import MESSAGES, Message
from soft_control.paths import share


@pytest.fixture(scope="module")
def known() -> list[Fault]:
    return [fault for fault, _ in read_faults(fault_files())]


def has_floats(kind: type[Message]) -> bool:
    codes = {field.metadata["code"] for field in dataclasses.fields(kind)}
    return bool(codes & {"f", "points"})


def test_every_kind_of_fault_there_is_is_tried(known):
    assert len(known) > 100
    tried = {stand: set() for stand in ("sil", "pil", "session", "graph")}
    for fault in known:
        tried[fault.stand].add(fault.what)
    assert tried["sil"] == {*DAMAGES, *INJECTIONS}
    assert tried["pil"] >= {*PIL_KINDS}
    assert tried["session"] == {*SESSION_KINDS}
    assert tried["graph"] == {*GRAPH_KINDS}
    codes = {fault.settings["code"] for fault in known if fault.what == "code"}
    assert codes == {*CODES}


def test_the_page_has_a_line_for_each(known):
    page = (share() / "docs" / "faults.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| ([a-z0-9_]{3,}) \|", page, re.MULTILINE)
    assert sorted(set(lines) - {"fault"}) == sorted(fault.name for fault in known)


@pytest.mark.parametrize("wiring", ["mcu", "host"])
@pytest.mark.parametrize("wire", WIRES)
def test_every_wire_is_damaged_in_every_way(known, wire, wiring):
    on_wires = [fault for fault in known if fault.stand == "sil" and fault.run.wiring == wiring]
    assert {fault.what for fault in on_wires if fault.where == wire} == {*DAMAGES}


@pytest.mark.parametrize("what", ["killed", "stopped"])
def test_it_happens_to_every_node(known, what):
    nodes = {path.stem for path in (share() / "soft_control" / "nodes").glob("[a-z]*.py")}
    tried = {fault.where for fault in known if fault.stand == "graph" and fault.what == what}
    assert nodes and nodes | {"softctl"} <= tried


def test_every_message_that_has_numbers_is_tried_without(known):
    tried = {f.settings["message"] for f in known if f.what == "not_finite"}
    to_mcu = {k.title() for k in MESSAGES.values() if k.TYPE < 0x80 and has_floats(k)}
    assert to_mcu <= tried and "TELEMETRY" in tried


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{name: some, what: drop}", "where = '' is none of host_in, host_out"),
        ("{name: some, what: drop, where: sensor_in, every: 0}", "every"),
        ("{name: some, what: bogus}", "what = 'bogus' is none of drop, flip"),
        ("{name: some, what: crash, cause: bogus}", "'bogus' is none of none, hard_fault"),
        ("{name: some, what: not_finite, message: X}", "'X' is none of HELLO"),
        ("{name: some, what: host_silent, bogus: 1}", "bogus"),
        ("{name: some, what: host_silent, where: host_in}", "host_silent takes no where"),
        ("{name: some, what: host_silent, expect: {state: bogus}}", "'bogus' is none of boot"),
        ("{name: some, what: host_silent, run: {clock: sun}}", "clock"),
        ("{name: some, what: host_silent, stand: moon}", "stand"),
        ("{name: Some Thing, what: host_silent}", "name"),
        ("{name: some, stand: graph, what: killed}", "where is missing: a node, or softctl"),
        ("{name: some, stand: pil, what: code, code: x}", "'x' is none of undefined_instruction"),
        ("{name: some, what: host_silent}\n  - {name: some, what: reset}", "some is there twice"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file(tmp_path, line, said):
    file = tmp_path / "mine.yaml"
    file.write_text(f"faults:\n  - {line}\n")
    with pytest.raises(ValueError) as mistake:
        read_faults([file])
    text = str(mistake.value)
    assert text.startswith(str(file)) and said in text and "\n" not in text


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere.yaml: no such file of faults"):
        read_faults([tmp_path / "nowhere.yaml"])
