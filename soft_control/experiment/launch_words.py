"""Messages about options of softctl in the words of launch files."""

from __future__ import annotations

import re

from soft_control.experiment.settings import Experiment, choices

OPTION = re.compile(r"--([a-z][a-z-]*[a-z])(?: (?=[A-Z/.]|\w+(?=$|[:;,.]|\sfor\b|\son\b)))?")


def as_arguments(text: str) -> str:
    """A message about options of softctl in the words of launch files: `--target pil` becomes
    `target:=pil`. What stands between backquotes is a command of its own, and stays."""
    parts = text.split("`")
    parts[::2] = [OPTION.sub(_argument, part) for part in parts[::2]]
    return "`".join(parts)


def _argument(option: re.Match[str]) -> str:
    name = option[1].replace("-", "_")
    if name.startswith("no_"):
        return f"{name.removeprefix('no_')}:=false{_blank(option)}"
    is_flag = name in Experiment.model_fields and choices(name) == choices("sim")
    return f"{name}:=true{_blank(option)}" if is_flag else f"{name}:="


def _blank(option: re.Match[str]) -> str:
    """After a flag comes no value."""
    return " " if option[0].endswith(" ") else ""
