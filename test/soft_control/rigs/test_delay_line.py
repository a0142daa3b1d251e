"""Commands on their way."""

from __future__ import annotations

import json
import math

from soft_control.rigs.delay_line import DelayLine


def test_each_change_arrives_once_a_delay_later():
    line = DelayLine(0.05)
    for now_s, command in ((0.00, [1.0]), (0.01, [1.0]), (0.02, [2.0])):
        line.give(command, now_s)
    arrivals = []
    while line.next_s < math.inf:
        arrivals.append((line.next_s, line.take()))
    assert arrivals == [(0.05, [1.0]), (0.02 + 0.05, [2.0])]


def test_what_has_always_acted_is_no_change():
    line = DelayLine(0.05, held=[0.0])
    line.give([0.0], 0.0)
    assert line.next_s == math.inf
    line.give([1.0], 0.1)
    line.give([0.0], 0.2)
    assert line.take() == [1.0] and line.take() == [0.0]


def test_a_saved_line_goes_on():
    line = DelayLine(0.1)
    line.give([1.0, 2.0], 0.0)
    other = DelayLine(0.1)
    other.restore(json.loads(json.dumps(line.save())))
    other.give([1.0, 2.0], 0.05)  # the same as before: no change
    assert other.next_s == 0.1 and other.take() == [1.0, 2.0] and other.next_s == math.inf
