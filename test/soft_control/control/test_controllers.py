"""The table of controllers: what everything else takes from it holds together."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

from soft_control.control.controllers import CONTROLLERS, MEASURED, SENSED, TARGETS, controller
from soft_control.paths import config


@pytest.mark.parametrize("name", sorted(CONTROLLERS))
def test_every_entry_names_what_exists(name: str):
    entry = controller(name)
    assert importlib.util.find_spec(f"soft_control.nodes.{entry.node}") is not None
    assert config(entry.node).is_file()
    assert entry.trigger in (MEASURED, SENSED)
    assert set(entry.targets) <= set(TARGETS)
    if entry.tuner:
        module, _, function = entry.tuner.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_who_sees_the_position_depends_on_the_parameters_of_the_node():
    assert not controller("mpc").sees_position({})
    assert not controller("mpc").sees_position({"tethered": False})
    assert controller("mpc").sees_position({"tethered": True})
    assert controller("pid").sees_position({})


def test_titles_name_the_target_where_it_makes_a_difference():
    assert controller("mpc").on("pil") == "MPC on pil"
    assert controller("pid").on("pil") == "PID"


def test_an_unknown_controller_is_refused_with_the_list():
    with pytest.raises(ValueError, match="unknown controller 'lqr': choose one of mpc, pid"):
        controller("lqr")
