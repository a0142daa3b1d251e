"""What can be wrong with a rig in a campaign: one table.

A new disturbance is one entry. It says what it does to a rig by the parameters that the rig has,
never by the rig's name, so that a new rig has those that make sense on it; where one makes none,
the campaign leaves it out and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from soft_control.campaign.disturbed_rig import (
    CHANNEL_KINDS,
    ChannelFault,
    DisturbedRig,
    Effect,
    Push,
)
from soft_control.plain_text import first_fault, printable
from soft_control.rigs import Rig, make_rig

TIMING_S = 0.010
"""By which a delay and a lag are off."""
CREEP = 2.0
SAG = 0.8
"""Of the supply: a battery of 12.6 V, its charge gone, has 10."""
INTERFERENCE_GAUSS = (0.3, 0.2, -0.2)
"""0.4 gauss, about the earth's field once more: a loudspeaker's magnet at some 10 cm."""
MAGNETS = 0.99
PUSH_S = 0.3
PUSH_LOADS = 2.0
"""Height of a push, in loads that comparisons put on the rig."""
PUSHES_AT = (0.0, 0.3, 0.6)
"""When they come, as shares of what is left of the run from its middle on."""


class NotThere(ValueError):
    """A rig has nothing that the disturbance could act on; the message says what is missing."""


@dataclass(frozen=True)
class Moment:
    """When a disturbance acts, s on the rig's clock."""

    from_s: float
    """Middle of the part of the run that counts."""
    end_s: float


Make = Callable[[Any, Moment, int], Effect]
"""Of an undisturbed rig, a moment and the number of a channel. Raises NotThere."""


@dataclass(frozen=True)
class Disturbance:
    """One line of the table."""

    help: str
    """What is wrong, in a few words."""
    make: Make
    each_channel: bool = False
    """Whether it is a disturbance of its own for each live channel, NAME:CHANNEL; else the number
    of the channel means nothing."""


def _parameter(rig: Any, name: str) -> Any:
    parameters = getattr(rig, "parameters", None)
    if name not in type(parameters).model_fields:
        raise NotThere(f"the rig has no parameter {name}")
    return getattr(parameters, name)


def _scaled(name: str, factor: float) -> Make:
    return lambda rig, moment, channel: Effect({name: factor * _parameter(rig, name)})


def _later(name: str, by_s: float) -> Make:
    def make(rig: Any, moment: Moment, channel: int) -> Effect:
        now_s = _parameter(rig, name)
        if now_s + by_s <= 0.0:
            raise NotThere(f"its {name} of {now_s:g} s cannot be {-by_s:g} s less")
        return Effect({name: now_s + by_s})

    return make


def _lag(by_s: float) -> Make:
    """Of a first-order lag its time constant; of a second-order one 2 zeta / omega, by which it
    trails a ramp."""

    def make(rig: Any, moment: Moment, channel: int) -> Effect:
        try:
            return _later("lag_s", by_s)(rig, moment, channel)
        except NotThere as reason:
            try:
                omega = _parameter(rig, "natural_rad_per_s")
                damping = _parameter(rig, "damping_ratio")
            except NotThere:
                raise reason from None
        trails_s = 2.0 * damping / omega + by_s
        if trails_s <= 0.0:
            raise NotThere(f"its lag cannot be {-by_s:g} s less")
        return Effect({"natural_rad_per_s": 2.0 * damping / trails_s})

    return make


def _creep(rig: Any, moment: Moment, channel: int) -> Effect:
    """Of a rig with creep branches what they hold; of one whose motion goes through branches what
    the slowest holds, taken from the quickest, and the charge that stays."""
    try:
        shares = _parameter(rig, "creep_fraction")
    except NotThere as reason:
        try:
            quick, *middle, slow = _parameter(rig, "branch_weight")
            charge = _parameter(rig, "retention")
        except NotThere:
            raise reason from None
        moved = (CREEP - 1.0) * slow
        weights = (quick - moved, *middle, slow + moved)
        return Effect({"branch_weight": weights, "retention": CREEP * charge})
    return Effect({"creep_fraction": tuple(CREEP * share for share in shares)})


def _load(rig: Any) -> np.ndarray:
    """(n,) displacement by the load of comparisons, in the outputs' units."""
    shown = _parameter(rig, "test_load")
    if not any(shown):
        raise NotThere("its parameters name no test_load")
    return np.array(shown) / rig.description.output_factors


def _payload(rig: Any, moment: Moment, channel: int) -> Effect:
    return Effect({"load_offset": tuple(_load(rig).tolist()), "load_after_s": moment.from_s})


def _push(rig: Any, moment: Moment, channel: int) -> Effect:
    """One way, the other way, and the first way again."""
    height, left_s = PUSH_LOADS * _load(rig), moment.end_s - moment.from_s
    pushes = [
        Push(tuple(sign * height), moment.from_s + share * left_s, PUSH_S)
        for sign, share in zip((1.0, -1.0, 1.0), PUSHES_AT, strict=True)
    ]
    return Effect(pushes=tuple(pushes))


def _with_start(name: str, start: str, value: Any) -> Make:
    def make(rig: Any, moment: Moment, channel: int) -> Effect:
        _parameter(rig, name)
        return Effect({name: value, start: moment.from_s})

    return make


def _channel(kind: str) -> Make:
    return lambda rig, moment, channel: Effect(
        channels=(ChannelFault(channel, kind, moment.from_s),)
    )


def _in_words(kind: str) -> str:
    name, _, per_s = kind.partition("_")
    return f"{name} by {100 * float(per_s):g} % of full scale a second" if per_s else name


def _all_dead(rig: Any, moment: Moment, channel: int) -> Effect:
    faults = [ChannelFault(i, "dead", moment.from_s) for i in live_channels(rig)]
    return Effect(channels=tuple(faults))


DISTURBANCES: dict[str, Disturbance] = {
    "nominal": Disturbance("as trained", lambda rig, moment, channel: Effect()),
    "pushes": Disturbance("three pushes of 0.3 s", _push),
    "payload": Disturbance("a load is hung on in mid-run", _payload),
    **{
        f"channel_{kind}": Disturbance(
            f"one signal channel is {_in_words(kind)} from mid-run on", _channel(kind), True
        )
        for kind in CHANNEL_KINDS
    },
    "channels_dead": Disturbance("all signal channels are dead from mid-run on", _all_dead),
    "interference": Disturbance(
        "a field of 0.4 gauss comes near in mid-run",
        _with_start("interference_gauss", "interference_after_s", INTERFERENCE_GAUSS),
    ),
    "magnets_weak": Disturbance("magnets 1 % weaker", _scaled("magnet_strength", MAGNETS)),
    "gain_0.75": Disturbance("goes 25 % less far", _scaled("gain", 0.75)),
    "gain_0.8": Disturbance("goes 20 % less far", _scaled("gain", 0.8)),
    "gain_1.2": Disturbance("goes 20 % further", _scaled("gain", 1.2)),
    "gain_1.25": Disturbance("goes 25 % further", _scaled("gain", 1.25)),
    "delay_less": Disturbance("transport delay 10 ms less", _later("delay_s", -TIMING_S)),
    "delay_more": Disturbance("transport delay 10 ms more", _later("delay_s", TIMING_S)),
    "lag_less": Disturbance("lag 10 ms less", _lag(-TIMING_S)),
    "lag_more": Disturbance("lag 10 ms more", _lag(TIMING_S)),
    "creep_doubled": Disturbance("twice as much creep", _creep),
    "supply_sag": Disturbance(
        "supply at 80 % from mid-run on", _with_start("supply", "supply_after_s", SAG)
    ),
    "tracker_lost": Disturbance(
        "nobody measures the outputs from mid-run on",
        lambda rig, moment, channel: Effect(tracker_lost_s=moment.from_s),
    ),
}
"""By the name that a plan says."""
NOMINAL = "nominal"
ALL = "all"
"""In a plan: every entry of the table."""


def fails_channels(name: str) -> bool:
    """Whether signal channels fail in the disturbance of that name."""
    entry = DISTURBANCES[parts_of(name)[0]]
    return entry.each_channel or entry is DISTURBANCES["channels_dead"]


def live_channels(rig: Rig) -> list[int]:
    """Numbers of the channels that say anything. Raises NotThere where there is none."""
    found = [i for i, full in enumerate(rig.description.full_scale_counts) if full > 0.0]
    if not found:
        raise NotThere("its robot has no signals")
    return found


def parts_of(name: str) -> tuple[str, str]:
    """Entry of the table and channel, which may be empty, of a name in a plan.

    Raises ValueError for what names no entry, or a channel where the entry has none.
    """
    entry, colon, channel = name.partition(":")
    if entry not in DISTURBANCES:
        raise ValueError(
            f"unknown disturbance '{printable(name)}': choose {ALL} or of {', '.join(DISTURBANCES)}"
        )
    if colon and not DISTURBANCES[entry].each_channel:
        raise ValueError(f"disturbance '{printable(name)}': {entry} is not of one channel")
    return entry, channel


def spelled_out(name: str, rig: Rig, channels: Sequence[str] = ()) -> list[str]:
    """The disturbances of this rig that a name in a plan means: of one that is of each channel, as
    many as there are `channels`, by default live ones, unless it says itself which.

    Raises NotThere where the rig has none of it, ValueError for a name that means nothing.
    """
    entry, channel = parts_of(name)
    if not DISTURBANCES[entry].each_channel:
        names = [entry]
    else:
        live = [rig.signal_names[i] for i in live_channels(rig)]
        chosen = [channel] if channel else list(channels) or live
        dead = next((one for one in chosen if one not in live), None)
        if dead is not None:
            raise NotThere(f"the rig has no live channel {printable(dead)}")
        names = [f"{entry}:{one}" for one in chosen]
    for one in names:
        effect_of(one, rig, Moment(1.0, 2.0))
    return names


def effect_of(name: str, rig: Rig, moment: Moment) -> Effect:
    """What the disturbance does to an undisturbed rig. Raises NotThere where that is nothing that
    the rig could have."""
    entry, channel = parts_of(name)
    number = rig.signal_names.index(channel) if channel else -1
    effect = DISTURBANCES[entry].make(rig, moment, number)
    try:
        type(rig.parameters).chosen(rig.parameters, **effect.changes)  # type: ignore[attr-defined]
    except ValidationError as error:
        raise NotThere(f"the rig cannot be so: {first_fault(error)}") from None
    return effect


def disturbed(name: str, rig_name: str, moment: Moment, seed: int) -> Any:
    """The rig, with the disturbance, its noise from `seed`."""
    effect = effect_of(name, make_rig(rig_name), moment)
    rig = make_rig(rig_name, seed=seed, **effect.changes)
    return DisturbedRig(rig, effect, seed) if effect.outside else rig
