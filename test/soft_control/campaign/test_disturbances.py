"""The table of disturbances on every rig: what each has, what it has not, and what it comes to."""

from __future__ import annotations

import numpy as np
import pytest

from soft_control.campaign import disturbances
from soft_control.campaign.disturbances import (
    DISTURBANCES,
    Disturbance,
    Moment,
    NotThere,
    disturbed,
    effect_of,
    spelled_out,
)
from soft_control.campaign.disturbed_rig import DisturbedRig, Effect
from soft_control.rigs import RIGS, make_rig

MOMENT = Moment(1.0, 2.0)
LACKING = {
    "tendon": {"interference", "magnets_weak"},
    "hasel": set(),
    "mass_spring_damper": {
        *("interference", "magnets_weak", "lag_less", "lag_more"),
        *("creep_doubled", "supply_sag"),
    },
    # Of their own physics, which has other parameters.
    "mujoco_tendon": {
        *("interference", "magnets_weak", "lag_less", "lag_more"),
        *("creep_doubled", "supply_sag"),
    },
    "mujoco_hasel": {"interference", "lag_less", "lag_more", "creep_doubled", "supply_sag"},
}


@pytest.mark.parametrize("name", RIGS)
def test_a_rig_has_what_makes_sense_on_it(name):
    rig, lacking = make_rig(name), set()
    for disturbance in DISTURBANCES:
        try:
            assert spelled_out(disturbance, rig)
        except NotThere as reason:
            lacking.add(disturbance)
            assert "the rig" in str(reason)
    assert lacking == LACKING[name]


@pytest.mark.parametrize("name", RIGS)
def test_every_disturbance_disturbs(name):
    """Held or moved by the same commands, the rig or what it measures is another one."""
    rig = make_rig(name)

    def seen(disturbance: str) -> np.ndarray:
        rig = disturbed(disturbance, name, MOMENT, seed=3)
        rig.reset()
        span, found = rig.command_max - rig.command_min, []
        for k in range(120):
            sample = rig.measure()
            found.append(np.concatenate([sample.outputs, sample.signals, rig.outputs()]))
            # Far and fast, so that a servo of less speed trails.
            rig.step(rig.command_min + span * (0.5 + 0.4 * np.sign(np.sin(0.7 * k))), 1 / 60)
        return np.array(found)

    nominal = seen("nominal")
    for disturbance in set(DISTURBANCES) - LACKING[name] - {"nominal"}:
        for spelled in spelled_out(disturbance, rig)[:2]:
            found = seen(spelled)
            assert not np.array_equal(found, nominal), spelled
            if DISTURBANCES[disturbance].each_channel or "dead" in disturbance:
                early = slice(0, 59)
                np.testing.assert_array_equal(found[early], nominal[early])


def test_each_channel_is_a_disturbance_of_its_own():
    rig = make_rig("tendon")
    live = ["lace_00", "lace_05", "lace_06", "lace_10"]
    assert spelled_out("channel_stuck", rig) == [f"channel_stuck:{name}" for name in live]
    assert spelled_out("channel_stuck:lace_06", rig) == ["channel_stuck:lace_06"]
    with pytest.raises(NotThere, match="no live channel lace_01"):
        spelled_out("channel_stuck:lace_01", rig)
    assert len(effect_of("channels_dead", rig, MOMENT).channels) == 4


@pytest.mark.parametrize("name", ["", "gain", "nominal:lace_05", "channel:lace_05", "\x1b[2J"])
def test_a_name_that_means_nothing_is_refused(name):
    with pytest.raises(ValueError, match="disturbance") as refused:
        spelled_out(name, make_rig("tendon"))
    assert str(refused.value).isprintable()


def test_what_is_no_parameter_any_more_is_not_there():
    """The delay of a rig that has nearly none cannot be 10 ms less."""
    with pytest.raises(NotThere, match="delay_s of 0.005 s cannot be 0.01 s less"):
        effect_of("delay_less", make_rig("tendon", delay_s=0.005), MOMENT)
    with pytest.raises(NotThere, match="the rig cannot be so"):
        effect_of("creep_doubled", make_rig("tendon", creep_fraction=(0.3, 0.3)), MOMENT)


def test_a_lag_is_ten_milliseconds_off_in_the_way_that_the_rig_has_one():
    assert effect_of("lag_more", make_rig("tendon"), MOMENT).changes == {"lag_s": 0.03}
    rig = make_rig("hasel")
    changed = effect_of("lag_more", rig, MOMENT).changes["natural_rad_per_s"]
    damping, before = rig.parameters.damping_ratio, rig.parameters.natural_rad_per_s
    assert 2 * damping / changed - 2 * damping / before == pytest.approx(0.010)


def test_a_sag_slows_the_servos_and_lowers_the_plates():
    def end(name: str, after_s: float, duration_s: float, command: np.ndarray) -> np.ndarray:
        rig = make_rig(name, supply=0.8, supply_after_s=after_s)
        rig.step(command, duration_s)
        return rig.outputs()

    far = make_rig("tendon").command_max
    never, now = end("tendon", 9.0, 0.2, far), end("tendon", 0.0, 0.2, far)
    assert np.linalg.norm(now) < 0.9 * np.linalg.norm(never)
    # A servo that has time gets where it was told.
    np.testing.assert_allclose(
        end("tendon", 0.0, 60.0, far), end("tendon", 99.0, 60.0, far), atol=1e-6
    )
    up = np.zeros(6)
    assert end("hasel", 0.0, 5.0, up)[2] < end("hasel", 9.0, 5.0, up)[2] - 1e-3


def test_a_field_that_comes_near_is_felt_by_all_sensors_alike():
    alone, near = make_rig("hasel"), make_rig("hasel", interference_gauss=(0.3, 0.2, -0.2))
    felt = near.field_gauss() - alone.field_gauss()
    np.testing.assert_allclose(np.linalg.norm(felt, axis=1), np.linalg.norm((0.3, 0.2, -0.2)))
    np.testing.assert_allclose(felt[:3], np.tile((0.3, 0.2, -0.2), (3, 1)), atol=1e-12)
    later = make_rig("hasel", interference_gauss=(0.3, 0.2, -0.2), interference_after_s=1.0)
    np.testing.assert_array_equal(later.field_gauss(), alone.field_gauss())
    later.step(np.zeros(6), 1.0)
    alone.step(np.zeros(6), 1.0)
    assert np.abs(later.field_gauss() - alone.field_gauss()).max() > 0.1


def test_a_new_disturbance_is_one_entry(monkeypatch):
    trial = Disturbance("half as far", lambda rig, moment, channel: Effect({"gain": 0.5}))
    monkeypatch.setitem(disturbances.DISTURBANCES, "half", trial)
    rig = disturbed("half", "tendon", MOMENT, seed=0)
    assert rig.parameters.gain == 0.5 and not isinstance(rig, DisturbedRig)
    assert isinstance(disturbed("tracker_lost", "tendon", MOMENT, seed=0), DisturbedRig)
