"""Every fault of config/faults/ that is tried in simulated time: what follows is what its line
says. The others are in test/soft_control/faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import soft_control.faults.stands as stands_module
from soft_control.faults.fault import Fault, Supervised
from soft_control.faults.preparation import prepare
from soft_control.faults.reading import fault_files, read_faults
from soft_control.faults.stands import Stands, stands
from soft_control.paths import TEMPLATES

KNOWN = read_faults(fault_files())
SIMULATED = [pair for pair in KNOWN if pair[0].stand == "sil"]
TIMES_S = np.arange(360) / 120
CURVE = np.stack([0 * TIMES_S, 0.0125 * np.sin(4.8 * TIMES_S), 0.025 * np.sin(2.4 * TIMES_S)], 1)
"""A model that nobody has trained knows no surface on which its x follows."""


@pytest.fixture(scope="module")
def ready(model_dir: Path) -> Iterator[Stands]:
    """Stands with the test network; each bench is built once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stands_module, "prepare", lambda *given: prepare(*given, CURVE))
        with stands(model_dir, "tendon") as made:
            yield made


@pytest.mark.parametrize(
    ("fault", "changes"), [pytest.param(*pair, id=pair[0].name) for pair in SIMULATED]
)
def test_what_follows_is_what_its_line_says(ready, fault: Fault, changes: Supervised):
    assert ready.try_fault(fault, changes).failures == []


def test_the_page_shows_how_to_add_one_of_ones_own(ready, tmp_path):
    page = (TEMPLATES / "faults.md").read_text(encoding="utf-8")
    file = tmp_path / "strain.yaml"
    file.write_text(page.partition("```yaml\n")[2].partition("```")[0])
    ((fault, changes),) = read_faults([file])
    tried = ready.try_fault(fault, changes)
    assert tried.failures == [] and tried.cause == "sensor_range"


def watched() -> Supervised:
    return next(changes for fault, changes in SIMULATED if fault.name == "host_silent_stop")


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ({"what": "host_silent"}, "is stopped: host_lost, not running: none"),
        ({"what": "sensor_dead", "channel": 0, "expect": {"same": True}}, "not told what they are"),
        ({"what": "host_slow", "expect": {"lost": "some"}}, "nothing was lost: no fault at all"),
        ({"what": "stranger", "expect": {"refused": 3}}, "messages, not 3"),
        (
            {
                "what": "host_silent",
                "run": {"host_timeout_ms": 200},
                "expect": {"state": "stopped", "cause": "host_lost", "tolerated_ms": 100},
            },
            "after the 100 ms that are tolerated, not 20",
        ),
    ],
)
def test_another_reaction_than_expected_is_a_failure(ready, fault, failure):
    tried = ready.try_fault(Fault(name="some", **fault), watched())
    assert not tried.passed and failure in "; ".join(tried.failures)


def test_a_lost_sample_that_nobody_counts_is_a_failure(ready, monkeypatch):
    """As if the firmware said that every sample was fresh."""
    monkeypatch.setattr("soft_control.faults.sil.Supervisor", SimpleNamespace(SENSOR_HELD=0))
    fault = next(fault for fault, _ in SIMULATED if fault.name == "mcu_sensor_dropped")
    tried = ready.try_fault(fault, watched())
    assert "lost uncounted: 0 of " in "; ".join(tried.failures)


def test_the_same_fault_twice_is_the_same_run(ready):
    fault = next(fault for fault, _ in SIMULATED if fault.name == "mcu_sensor_flipped")
    first, second = (ready.try_fault(fault, watched()).as_json() for _ in range(2))
    assert {**first, "took_s": 0} == {**second, "took_s": 0}
