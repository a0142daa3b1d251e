"""docs/reference/: the committed pages are what the models and commands say, and lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
import yaml

pytest.importorskip("rclpy", reason="nodes' parameters need ROS 2: pip install soft_control[ros]")

from soft_control.cli.app import BAGS, BENCHMARKS, COMMANDS, app  # noqa: E402
from soft_control.cli.reference_pages import (  # noqa: E402
    ROBOT_EXAMPLE,
    commands,
    kind,
    sections,
    write_pages,
)
from soft_control.robots.description import described  # noqa: E402

PROJECT = Path(__file__).resolve().parents[3]
PAGES = PROJECT / "docs" / "reference"


def test_the_pages_are_what_the_generator_writes(tmp_path):
    for page in write_pages(tmp_path):
        committed = (PAGES / page.name).read_text(encoding="utf-8")
        assert committed == page.read_text(encoding="utf-8"), "make docs writes it anew"


def test_every_setting_says_what_it_means():
    for listed in sections().values():
        for section in listed:
            for part in (section, *section.parts):
                for row in part.rows:
                    assert row.meaning, f"{part.title}.{row.name} has no description"
                    assert row.kind


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 255}, "whole number ≥ 1, ≤ 255"),
        ({"type": "number", "exclusiveMinimum": 0}, "number > 0"),
        ({"type": "integer", "exclusiveMaximum": 2**63}, "whole number < 9223372036854775808"),
        ({"type": "boolean"}, "true or false"),
        ({"type": "string", "format": "path"}, "path"),
        ({"type": "string"}, "text"),
        ({"enum": ["a", "b"], "type": "string"}, "`a`, `b`"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "number or none"),
        ({"$ref": "#/$defs/Contact"}, "[Contact](#contact)"),
        ({"type": "array", "items": {"type": "number"}}, "list of numbers"),
        (
            {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1},
            "list of whole numbers, each ≥ 1, at least 1",
        ),
        (
            {"type": "array", "prefixItems": [{"type": "number", "exclusiveMinimum": 0}] * 3},
            "3 numbers, each > 0",
        ),
        (
            {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3},
            "3 numbers",
        ),
        (
            {"type": "object", "additionalProperties": {"type": "number"}},
            "names, each with a number",
        ),
        ({"type": "object", "additionalProperties": True}, "names and values"),
    ],
)
def test_kinds_in_words(schema, said):
    assert kind(schema) == said


def test_the_example_of_a_robot_is_one():
    robot = described(yaml.safe_load(ROBOT_EXAMPLE), "example")
    assert robot.recording.files_of("seen_3.csv") == ("seen_3.csv", "told_3.csv")
    assert robot.output_rest.tolist() == [0.0, -0.12, 0.0] and len(robot.groups) == 2


def test_every_command_is_on_the_page_with_an_example():
    page = (PAGES / "commands.md").read_text(encoding="utf-8")
    of_groups = [*(f"benchmark {name}" for name in BENCHMARKS), *(f"bag {name}" for name in BAGS)]
    for name in [*COMMANDS, *of_groups]:
        about = page.partition(f"\n## softctl {name}\n")[2].partition("\n## ")[0]
        assert f"```sh\nsoftctl {name} " in about, name


def test_options_are_called_as_they_are_typed():
    """By typer's own parser of each command."""
    typed = typer.main.get_command(app)
    for command in commands():
        parser = typed
        for word in command.name.split()[1:]:
            parser = parser.commands[word]
        names = {
            name
            for parameter in parser.params
            if parameter.param_type_name == "option"
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        said = {n for option in command.options for n in option.name.split(", ") if n[:2] == "--"}
        assert said == names, command.name


@pytest.mark.parametrize("name", ["configuration.md", "commands.md", "robot.md", "glossary.md"])
def test_links_lead_somewhere(name):
    page = (PAGES / name).read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    }
    for link in re.findall(r"\]\(([^)]+)\)", page):
        path, _, anchor = link.partition("#")
        assert not path or (PAGES / path).is_file(), link
        assert not anchor or path or anchor in anchors, link


WORDS = """
robot, rig, command, move, output, point, signal, reference, control rate, horizon, control horizon,
input lags, output lags, forward kinematics, tracking error, path error, wiring, offset, lockstep,
realtime, sil, pil, hil, target, tethered, twin, free run, plan, sample, excitation, preview, bag
"""


def entries() -> dict[str, tuple[str, str]]:
    """Word: symbols, text."""
    page = (PAGES / "glossary.md").read_text(encoding="utf-8")
    found = re.findall(
        r"^- \*\*(.+?)\*\*(?: \((.+?)\))?:\s((?:.+\n(?:  .+\n)*))", page, re.MULTILINE
    )
    return {word: (symbols, text) for word, symbols, text in found}


def test_the_glossary_has_every_word_of_the_field():
    wanted = {word.strip() for word in WORDS.split(",")}
    assert wanted <= entries().keys(), wanted - entries().keys()


def test_symbols_of_the_glossary_are_in_the_code():
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder, pattern in (
            ("soft_control", "*.py"),
            ("firmware/src", "*.h"),
            ("config", "*.yaml"),
        )
        for path in (PROJECT / folder).rglob(pattern)
    )
    for word, (symbols, _) in entries().items():
        for symbol in re.findall(r"`([^`]+)`", symbols):
            name = symbol.rpartition(".")[2] if symbol.partition(".")[0].isidentifier() else symbol
            there = re.search(rf"\b{re.escape(name)}\b", code)
            assert there or (PROJECT / symbol).exists(), f"{word}: {symbol}"


def test_an_entry_is_short():
    for word, (_, text) in entries().items():
        assert text.count("\n") <= 4 and text.rstrip().endswith("."), word
