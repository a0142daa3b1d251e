"""A plan: which rigs, references, controllers, disturbances and seeds; and the rows it comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

import soft_control.campaign.disturbances as disturbances
from soft_control.campaign.runs import Row
from soft_control.campaign.stands import Kit, code_hash, curve_hash, pack
from soft_control.campaign.ways import way
from soft_control.experiment.record import SETTLE_S
from soft_control.paths import share
from soft_control.plain_text import first_fault, printable
from soft_control.rigs import Rig, check_rig, make_rig
from soft_control.rigs.parameters import Strict
from soft_control.robots.config_files import read_yaml
from soft_control.robots.description import PlainName

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[int, Field(ge=1, le=1000)] | Annotated[list[Seed], Field(min_length=1)]
Names = Annotated[list[str], Field(min_length=1)]

ROWS_MAX = 100_000


class RigChoice(Strict):
    """A rig, and what controls it."""

    rig: str = ""
    """Simulated rig, or the directory of a twin; by default the rig of that name."""
    model: Path
    """Directory that `softctl train` wrote."""
    build: Path
    """Directory that `softctl build` wrote."""
    channels: tuple[str, ...] = ()
    """Signals that disturbances of each channel are of; by default all live ones."""


class ControllerChoice(Strict):
    """A controller, and where it is enough that it runs in some of the rows."""

    name: str
    """Of the table campaign.ways.WAYS."""
    references: Names | None = None
    """By default all of the plan."""
    disturbances: Names | None = None
    """By default all of the plan."""
    seeds: Seeds | None = None
    """By default those of the plan."""

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        way(value)
        return value

    @field_validator("disturbances")
    @classmethod
    def _known_disturbances(cls, value: list[str] | None) -> list[str] | None:
        return value and _known_names(value)


class Plan(Strict):
    """What a campaign runs: every combination of what stands here."""

    rigs: Annotated[dict[PlainName, RigChoice], Field(min_length=1)]
    """By a name for tables and figures."""
    references: Names
    """Shapes, or CSV files."""
    controllers: Annotated[list[ControllerChoice], Field(min_length=1)]
    """Names of the table campaign.ways.WAYS, or mappings with a name and what of the plan is enough
    for it; in the order of tables and figures."""
    disturbances: Names = ["nominal"]
    """Names of the table campaign.disturbances.DISTURBANCES; all: every one of it. One that is of
    each channel may say which: channel_dead:lace_05."""
    seeds: Seeds = 5
    """Of noise: how many, from 0 on, or a list."""
    duration_s: Annotated[float, Field(ge=2 * SETTLE_S, le=3600.0)] = 20.0
    """Of each run's part that counts; a disturbance comes in its middle."""
    trace_hz: Annotated[float, Field(gt=0.0, le=1000.0)] = 20.0
    """How many samples of each run the table keeps, for figures."""

    @model_validator(mode="before")
    @classmethod
    def _names_alone(cls, values: Any) -> Any:
        chosen = values.get("controllers") if isinstance(values, dict) else None
        if not isinstance(chosen, list):
            return values
        named = [{"name": one} if isinstance(one, str) else one for one in chosen]
        return {**values, "controllers": named}

    @field_validator("disturbances")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        return _known_names(value)

    @model_validator(mode="after")
    def _each_once(self) -> Plan:
        lists = {
            "references": self.references,
            "controllers": [one.name for one in self.controllers],
            "disturbances": self.disturbances,
            "seeds": seeds_of(self.seeds),
        }
        for what, names in lists.items():
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{what}: {printable(twice)} is there twice")
        for one in self.controllers:
            foreign = set(one.references or ()) - set(self.references)
            if foreign:
                raise ValueError(
                    f"controllers: {one.name}: the reference {printable(foreign.pop())} is none of "
                    "the plan's"
                )
            foreign = set(_all_or(one.disturbances or [])) - set(_all_or(self.disturbances))
            if foreign:
                raise ValueError(
                    f"controllers: {one.name}: the disturbance {printable(foreign.pop())} is none "
                    "of the plan's"
                )
        return self


def _known_names(value: list[str]) -> list[str]:
    for name in value:
        if name != disturbances.ALL:
            disturbances.parts_of(name)
    return value


def _all_or(names: Sequence[str]) -> list[str]:
    spelled = [
        one
        for name in names
        for one in (disturbances.DISTURBANCES if name == disturbances.ALL else [name])
    ]
    return list(dict.fromkeys(spelled))


def seeds_of(seeds: int | list[int]) -> list[int]:
    """How many from 0 on, or which."""
    return list(range(seeds)) if isinstance(seeds, int) else list(seeds)


def read_plan(path: Path) -> Plan:
    """The plan in a YAML file; one that is named without a folder and is not there is looked for in
    config/campaigns/.

    Raises ValueError in one line naming the file and the first setting that is wrong.
    """
    plans = share() / "config" / "campaigns"
    alone = path == Path(path.name)
    found = plans / path if alone and not path.is_file() else path
    if not found.is_file():
        known = ", ".join(sorted(p.name for p in plans.glob("*.yaml")))
        raise ValueError(f"{path}: no such file, nor one of {known} in config/campaigns")
    try:
        return Plan.model_validate(read_yaml(found))
    except ValidationError as error:
        raise ValueError(f"{found}: {first_fault(error)}") from None


@dataclass(frozen=True)
class Skipped:
    """A disturbance that a rig has not."""

    rig: str
    disturbance: str
    reason: str

    def __str__(self) -> str:
        return f"{self.rig}: no {self.disturbance}: {self.reason}"


@dataclass(frozen=True)
class Campaign:
    """A plan with all that its runs need; it has been checked that it fits together."""

    plan: Plan
    kits: Mapping[str, Kit]
    """By the rig's name in the plan."""
    rows: Sequence[Row]
    """In the plan's order: rig, reference, disturbance, controller, seed."""
    skipped: Sequence[Skipped]

    @property
    def identity(self) -> dict[str, Any]:
        """What the rows come from, as JSON can hold it: rows of equal identity are equal."""
        rigs = {
            name: {
                "rig": kit.rig_hash,
                "model": kit.model_hash,
                "firmware": kit.build_id,
                "parameters": kit.parameters,
                "references": {shape: curve_hash(curve) for shape, curve in kit.curves.items()},
                "channels": self.plan.rigs[name].channels,
            }
            for name, kit in self.kits.items()
        }
        plan = self.plan.model_dump(mode="json", exclude={"rigs"})
        return {"plan": plan, "rigs": rigs, "code": code_hash()}

    @property
    def compared(self) -> list[str]:
        """Controllers, in the plan's order."""
        return [one.name for one in self.plan.controllers]


def prepare(plan: Plan) -> Campaign:
    """Reads what the plan names, and spells its rows out.

    Raises ValueError in one line for what is missing or does not fit, naming the rig, and where
    nothing would be left to run.
    """
    ways = {one.name: way(one.name) for one in plan.controllers}
    heads = [shape for one in ways.values() if one.head_s for shape in one.head]
    references = list(dict.fromkeys([*plan.references, *heads]))
    entries = list(dict.fromkeys(one.entry for one in ways.values() if one.entry))
    kits, skipped, meant = {}, [], {}
    for name, choice in plan.rigs.items():
        try:
            rig = check_rig(choice.rig or name)
            kits[name] = pack(name, rig, choice.model, choice.build, references, entries)
        except (ValueError, RuntimeError, OSError) as error:
            raise ValueError(f"rigs.{name}: {error}") from None
        meant[name], missing = _meant(name, choice, make_rig(rig), plan.disturbances)
        skipped += missing
    rows = _rows(plan, meant)
    if not rows:
        raise ValueError(f"nothing is left to run: {'; '.join(map(str, skipped))}")
    if len(rows) > ROWS_MAX:
        raise ValueError(f"{len(rows):,} rows are too many, at most {ROWS_MAX:,}: make two plans")
    return Campaign(plan, kits, rows, skipped)


def _meant(
    name: str, choice: RigChoice, rig: Rig, wanted: Sequence[str]
) -> tuple[dict[str, str], list[Skipped]]:
    """Disturbances of one rig, spelled out, with the name in the plan that means each; and what it
    has not."""
    foreign = next((one for one in choice.channels if one not in rig.signal_names), None)
    if foreign is not None:
        raise ValueError(
            f"rigs.{name}.channels: {printable(foreign)} is none of the robot's signals: "
            f"{', '.join(rig.signal_names) or 'it has none'}"
        )
    found: dict[str, str] = {}
    skipped = []
    for one in _all_or(wanted):
        try:
            for spelled in disturbances.spelled_out(one, rig, choice.channels):
                found.setdefault(spelled, one)
        except disturbances.NotThere as reason:
            skipped.append(Skipped(name, one, str(reason)))
    return found, skipped


def _rows(plan: Plan, meant: Mapping[str, Mapping[str, str]]) -> list[Row]:
    found: list[Row] = []
    for rig, by_name in meant.items():
        for reference in plan.references:
            for disturbance, said in by_name.items():
                for one in plan.controllers:
                    if one.references is not None and reference not in one.references:
                        continue
                    enough = one.disturbances and _all_or(one.disturbances)
                    if enough and said not in enough and disturbance not in enough:
                        continue
                    for seed in seeds_of(plan.seeds if one.seeds is None else one.seeds):
                        found.append(Row(len(found), rig, reference, one.name, disturbance, seed))
    return found
