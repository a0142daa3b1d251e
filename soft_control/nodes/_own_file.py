"""A parameter file of one node, for whoever starts it alone with `ros2 run`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Any

from soft_control.experiment.instrument_parameters import told_alone
from soft_control.experiment.node_parameters import merged, node_parameters
from soft_control.experiment.setup import without_outputs
from soft_control.nodes._given import parameters_of
from soft_control.nodes._node import descriptor
from soft_control.robots.description import RobotDescription

OF_A_RUN = ("peers", "wait_for", "wait_for_s")
"""That a node alone has no need of."""
WIDTH = 96


def own_file(node: str, robot: RobotDescription, given: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The text of a file with all parameters of a node and what they mean, filled from config/, the
    robot's description and what is `given`; and the names of those that are wanted and that neither
    has. Raises ValueError for one that the node has not, or that it would refuse."""
    model = parameters_of(node)
    if unknown := sorted(given.keys() - model.model_fields.keys()):
        raise ValueError(f"node {node} has no parameter {', '.join(unknown)}")
    known = merged(told_alone(node, robot), without_outputs(node_parameters(node, robot)))
    known = {k: v for k, v in known.items() if k in model.model_fields} | dict(given)
    lines = [f"{node}:", "  ros__parameters:"]
    wanted = []
    for name, field in model.model_fields.items():
        if name in OF_A_RUN and name not in known:
            continue
        told = descriptor(field)
        limits = told.additional_constraints
        about = f"{told.description} ({limits})" if limits else told.description
        lines += [f"    # {line}" for line in textwrap.wrap(about, WIDTH)]
        if name in known:
            lines.append(f"    {name}: {as_yaml(known[name])}")
        elif field.is_required():
            wanted.append(name)
            lines.append(f"    # {name}:    wanted")
        else:
            lines.append(f"    # {name}: {as_yaml(field.get_default(call_default_factory=True))}")
    return "\n".join(lines) + "\n", wanted


def as_yaml(value: Any) -> str:
    """On one line, texts in quotation marks: ROS takes a lone y for true."""
    return json.dumps([""] if value == [] else value, ensure_ascii=False)
