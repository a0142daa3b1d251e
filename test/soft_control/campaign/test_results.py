"""What a table says, against tables whose numbers are known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from soft_control.campaign.results import Results, difference_of
from soft_control.campaign.store import SCHEMA


def table(**rmse: dict[tuple[str, int], float | None]) -> pa.Table:
    """Of one task: controller -> (reference, seed) -> RMSE, or None for a run that broke off."""
    rows = []
    for controller, by_place in rmse.items():
        for (reference, seed), value in by_place.items():
            figures = {"fault": "broke"} if value is None else {
                "rmse": value, "max": 2 * value, "rmse_late": value / 2, "of": "tip", "unit": "mm",
            }  # fmt: skip
            row = dict(rig="r", reference=reference, controller=controller, disturbance="d")
            rows.append({"number": len(rows), "seed": seed, **row, **figures})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def places(values: dict[str, list[float | None]]) -> dict[tuple[str, int], float | None]:
    return {(ref, seed): v for ref, many in values.items() for seed, v in enumerate(many)}


def test_a_task_is_the_mean_rmse_and_the_worst_maximum():
    found = Results(table(a=places({"x": [1.0, 2.0], "y": [6.0, None]})))
    figure = found.figure(found.rows("r", "d", "a"))
    assert (figure.runs, figure.failed, figure.rmse, figure.worst) == (4, 1, 3.0, 12.0)
    assert figure.late == 1.5
    one = found.figure(found.rows("r", "d", "a", "x"))
    assert (one.rmse, one.worst) == (1.5, 4.0)
    assert found.faults() == [(3, "broke")]
    assert found.names("reference", "r") == ["x", "y"] and found.unit("r") == "mm"
    nothing = found.figure(found.rows("r", "d", "a", "y")[1:])
    assert nothing.failed == nothing.runs == 1 and np.isnan(nothing.rmse)


def test_doubt_is_counted_where_somebody_tells():
    rows = [
        dict(disturbance="channel_dead:a", found_s=0.1, doubted_sound=0),
        dict(disturbance="channel_dead:a", found_s=0.4, doubted_sound=7),
        dict(disturbance="channel_dead:a", found_s=None, doubted_sound=0),
        dict(disturbance="channel_dead:a", found_s=0.2, doubted_sound=5, fault="broke"),
        dict(disturbance="nominal", doubted_sound=3),
        dict(disturbance="gain_0.8"),
    ]
    same = dict(rig="r", reference="x", controller="c", samples=100)
    numbered = [same | row | {"number": i, "seed": i} for i, row in enumerate(rows)]
    found = Results(pa.Table.from_pylist(numbered, schema=SCHEMA))
    dead = found.doubt(found.rows("r", "channel_dead:a", "c"))
    assert (dead.failed, dead.found, dead.missed) == (3, 2, 1)
    assert (dead.mean_s, dead.worst_s) == (pytest.approx(0.25), 0.4)
    assert (dead.samples, dead.alarms, dead.alarmed) == (300, 7, 1)
    calm = found.doubt(found.rows("r", "nominal", "c"))
    assert (calm.failed, calm.alarms, calm.samples) == (0, 3, 100) and np.isnan(calm.worst_s)
    assert found.doubt(found.rows("r", "gain_0.8", "c")) is None
    assert np.isnan(found.iterations(found.rows("r", "nominal", "c")))


def test_pairs_have_the_same_reference_and_seed():
    """The runs of b are much worse than those of a, but for the noise of the references: pair by
    pair a is always 0.1 better."""
    rng = np.random.default_rng(0)
    base = {name: rng.uniform(1, 50, 5) for name in "uvwxy"}
    a = places({name: list(v) for name, v in base.items()})
    b = places({name: list(v + 0.1) for name, v in base.items()})
    found = Results(table(a=a, b=dict(reversed(b.items()))))
    compared = found.compare("r", "d", "a", "b")
    assert (compared.pairs, compared.won, compared.lost) == (25, 25, 0)
    assert compared.over_all.mean == pytest.approx(-0.1)
    assert compared.over_all.verdict == "better" and compared.references("better") == list("uvwxy")
    assert found.compare("r", "d", "b", "a").over_all.verdict == "worse"
    assert found.compare("r", "d", "a", "a").over_all.verdict == "equal"
    assert found.compare("r", "d", "a", "c") is None


def test_seeds_are_no_evidence_about_another_reference():
    """Ten seeds of one reference on which a is better, and ten of one on which it is worse: taken
    together they do not tell, though by themselves both are sure."""
    noise = np.linspace(0, 0.01, 10)
    a = places({"x": list(1 + noise), "y": list(9 + noise)})
    b = places({"x": list(4 + noise[::-1]), "y": list(5 + noise[::-1])})
    compared = Results(table(a=a, b=b)).compare("r", "d", "a", "b")
    assert compared.over_all.mean == pytest.approx(0.5) and compared.over_all.verdict == "open"
    assert compared.references("better") == ["x"] and compared.references("worse") == ["y"]


def test_of_a_single_reference_the_interval_is_over_seeds():
    a, b = places({"x": [1.0, 1.1, 1.2, 1.1]}), places({"x": [2.0, 2.0, 2.1, 2.2]})
    compared = Results(table(a=a, b=b)).compare("r", "d", "a", "b")
    assert compared.over_all == compared.by_reference["x"]
    assert compared.over_all.verdict == "better"


def test_who_breaks_off_has_lost_the_pair():
    a, b = places({"x": [1.0, None, None, 1.0]}), places({"x": [2.0, 0.5, None, None]})
    compared = Results(table(a=a, b=b)).compare("r", "d", "a", "b")
    assert (compared.pairs, compared.won, compared.lost) == (4, 2, 1)
    assert compared.over_all.mean == -1.0 and compared.over_all.verdict == "open"  # one pair


def test_an_interval_holds_the_true_mean_as_often_as_it_says():
    """Of 400 samples of 12 from a skewed distribution, 95 % intervals hold its mean, 1, in some
    90 % (the bootstrap is a little short for so few); three standard deviations of that are 4.5."""
    rng = np.random.default_rng(1)
    held = []
    for _ in range(400):
        found = difference_of(rng.gamma(4.0, 0.25, 12))
        held.append(found.low <= 1.0 <= found.high)
        assert found.low < found.mean < found.high
    assert 0.86 <= np.mean(held) <= 0.98


@pytest.mark.parametrize(
    ("apart", "low", "high", "verdict"),
    [
        ([], np.nan, np.nan, "open"),
        ([-1.0], np.nan, np.nan, "open"),
        ([-1.0, -2.0], -2.0, -1.0, "better"),
        ([-1.0, 2.0], -1.0, 2.0, "open"),
        ([3.0, 3.0, 3.0], 3.0, 3.0, "worse"),
        ([0.0, 0.0, 0.0], 0.0, 0.0, "equal"),
    ],
)
def test_of_few_pairs_it_says_no_more_than_they_do(apart, low, high, verdict):
    found = difference_of(apart)
    np.testing.assert_array_equal([found.low, found.high], [low, high])
    assert found.verdict == verdict


def test_the_same_pairs_give_the_same_interval():
    apart = np.random.default_rng(2).normal(size=20)
    assert difference_of(apart) == difference_of(list(apart))
