"""Which designs are tried next: optuna's multi-objective Tree-structured Parzen Estimator.

(Ozaki, Tanigaki, Watanabe, Nomura, Onishi: Multiobjective tree-structured Parzen estimator, JAIR,
2022.) The sampler lives for one batch: it is seeded by the search's seed and the batch's first
number, and told what earlier batches found. So the same designs come whatever the cores, and a
search that was killed goes on as if it had not been.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from soft_control.design.settings import DesignSettings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MISSING = "softctl design needs {name} {version} or later: pip install 'soft_control[design]'"
VERSIONS = {"optuna": 5, "pyarrow": 15}
"""Packages of the extra `design`, and the oldest that will do."""
OBJECTIVES = 3
"""Error, instructions, flash. The power follows the instructions, so it is none of its own."""
STARTUP = 12
"""Points drawn at random before the sampler has enough to learn from."""


@dataclass(frozen=True)
class Told:
    """A point that was tried."""

    values: dict[str, Any]
    objectives: tuple[float, ...] | None
    """The smaller, the better; None of a point that failed."""
    excess: dict[str, float]
    """Of limits: above 0 it is beyond one."""


def check_packages() -> None:
    """Raises ValueError in one line where a package of the extra `design` is missing or too old."""
    import importlib

    for name, version in VERSIONS.items():
        try:
            found = importlib.import_module(name).__version__
        except ImportError:
            found = "0"
        if int(found.partition(".")[0]) < version:
            raise ValueError(MISSING.format(name=name, version=version))


def distributions(settings: DesignSettings, signals: bool) -> dict[str, BaseDistribution]:
    """Name -> what may be chosen. `signals`: whether there are any to see."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    numbers = {f"units_{i}": settings.units for i in range(settings.layers[1])}
    numbers |= {
        name: getattr(settings, name)
        for name in (
            *("layers", "input_lags", "output_lags"),
            *("beyond_delay", "control_horizon", "iterations"),
        )
    }
    picked = {
        "signals": settings.signals if signals else (False,),
        "method": settings.methods,
        "tail_continues": settings.tail_continues,
    }
    return {name: IntDistribution(*ends) for name, ends in numbers.items()} | {
        name: CategoricalDistribution(tuple(dict.fromkeys(values)))
        for name, values in picked.items()
    }


def propose(
    space: dict[str, BaseDistribution], told: Sequence[Told], count: int, seed: int, first: int
) -> list[dict[str, Any]]:
    """Points to try next, numbers `first` and after, given what all earlier ones came to. The
    first of them do not depend on `count`."""
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own = int(np.random.SeedSequence((seed, first)).generate_state(1)[0])
    with warnings.catch_warnings():
        # Both are experimental to optuna; with them points of one batch keep apart.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=own, multivariate=True, constant_liar=True, n_startup_trials=STARTUP
        )
    study = optuna.create_study(directions=["minimize"] * OBJECTIVES, sampler=sampler)
    for one in told:
        state = TrialState.COMPLETE if one.objectives else TrialState.FAIL
        study.add_trial(
            create_trial(
                state=state,
                values=one.objectives,
                params=one.values,
                distributions=space,
                constraints=one.excess if one.objectives else None,
            )
        )
    return [study.ask(fixed_distributions=space).params for _ in range(count)]
