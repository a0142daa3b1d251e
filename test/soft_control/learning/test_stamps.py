from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soft_control.learning.recording import RecordingError, RecordingWarning
from soft_control.learning.stamps import check_unit, first_of_each_stamp, nearest

RUN = Path("run")
TIMES = st.lists(st.integers(0, 10**6), min_size=2, max_size=20, unique=True).map(sorted)


@given(stamps=TIMES, wanted=TIMES)
def test_nearest_is_the_obvious_search(stamps, wanted):
    place, far = nearest(np.array(stamps), np.array(wanted))
    for i, t in enumerate(wanted):
        assert far[i] == min(abs(s - t) for s in stamps) == abs(stamps[place[i]] - t)


@pytest.mark.parametrize(
    ("step", "start", "said"),
    [
        (8.0, 0.0, "0.125 Hz.*look like ms .125 Hz.: write seconds or t_ms"),
        (1e3, 0.0, "look like us .1000 Hz."),
        (1e6, 1.7e18, "look like ns .1000 Hz."),
        (5.0, 1.7e9, "must be in seconds"),  # seconds since 1970: a sample every 5 s it is
        (8e-6, 0.0, "must be in seconds"),
    ],
)
def test_the_unit_is_guessed(step, start, said):
    stamps = start + step * np.arange(20)
    with pytest.raises(RecordingError, match=f"run: column t: .*{said}"):
        check_unit(RUN, stamps, "column t", " or t_{unit}")


@pytest.mark.parametrize("step", [1e-4, 8.3e-3, 0.165, 0.4])
def test_rates_of_soft_robots_are_seconds(step):
    check_unit(RUN, step * np.arange(20), "column t")


def test_time_goes_on_or_is_refused():
    rows = ["row 2", "row 3", "row 4"]
    with pytest.raises(RecordingError, match="run: row 4: time goes back from 1.0 to 0.5 s"):
        first_of_each_stamp(RUN, np.array([0.0, 1.0, 0.5]), rows)
    with pytest.warns(RecordingWarning, match="left out: row 3"):
        keep = first_of_each_stamp(RUN, np.array([0.0, 0.0, 0.5]), rows)
    assert keep.tolist() == [True, False, True]
