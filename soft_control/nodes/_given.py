"""What parameters the nodes have, for whoever checks them before a node starts."""

from __future__ import annotations

from importlib import import_module

from soft_control.nodes._node import NodeParameters, RigNode


def parameters_of(name: str) -> type[NodeParameters]:
    """The parameters of the node of that name."""
    module = import_module(f"soft_control.nodes.{name}")
    return next(
        value.Parameters
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, RigNode)
        and getattr(value, "NAME", "") == name
    )
