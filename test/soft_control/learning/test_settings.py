from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from soft_control.learning.settings import TrainingSettings


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("rig", ["", "a b", "a/b", 3]),
        ("rate_hz", [0, -1, np.inf, np.nan, 1e9, "fast", None]),
        ("input_lags", [0, 10**9, 1.5]), ("output_lags", [0]), ("input_delay", [-1, 10**9]),
        ("hidden", [[], [0], [-3], [10**9], [[1]], [8] * 17, 16]),
        ("updates", [0, 10**18]), ("batch", [0, 10**12]), ("rollout_samples", [0, 10**12]),
        ("learning_rate", [0, -1, np.inf, np.nan]), ("difference_gain", [-1, np.inf, np.nan]),
        ("clip", [0, np.inf, np.nan]), ("reset_share", [-0.1, 1.1, np.nan]),
        ("held_share", [1.1, np.nan]), ("seed", [-1, 2**63]), ("surplus", [1]),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(field, values):
    for value in values:
        with pytest.raises(ValidationError, match=field):
            TrainingSettings(**{field: value})


def test_updates_that_no_memory_holds_are_refused():
    TrainingSettings(batch=10**5, rollout_samples=10)
    with pytest.raises(ValidationError, match="batch = 100000 times rollout_samples = 11"):
        TrainingSettings(batch=10**5, rollout_samples=11)
