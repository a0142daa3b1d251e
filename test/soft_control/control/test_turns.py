"""Who answers which sample, whatever comes first."""

from __future__ import annotations

import itertools

import pytest

from soft_control.control.turns import Turns

STEP = 10


class Player:
    def __init__(self, lockstep=True, from_ns=None) -> None:
        self.did: list[tuple] = []
        self.turns = Turns(
            lockstep,
            STEP,
            lambda ns, *inputs: self.did.append(("answer", ns, *inputs)),
            lambda ns, command, *inputs: self.did.append(("follow", ns, command, *inputs)),
            from_ns,
        )


def test_alone_it_answers_every_sample_at_once():
    player = Player(from_ns=0)
    for ns in (10, 20):
        player.turns.sample(ns, "in")
        assert player.did[-1] == ("answer", ns, "in")
    player.turns.told(20, 0.5)
    player.turns.sample(30, "in")
    assert [did[:2] for did in player.did] == [("answer", 10), ("answer", 20), ("answer", 30)]


@pytest.mark.parametrize("order", itertools.permutations(range(5)))
def test_in_lockstep_the_order_of_messages_makes_no_difference(order):
    """Those of one kind come in order; kinds come as they like."""
    player = Player()
    events = [
        ("sample", 10),
        ("sample", 20),
        ("told", 10),
        ("sample", 30),
        ("begin", 20),
    ]
    samples = iter([e for e in events if e[0] == "sample"])
    for i in order:
        kind, ns = events[i]
        if kind == "sample":
            player.turns.sample(next(samples)[1], "in")
        elif kind == "told":
            player.turns.told(ns, 0.5)
        else:
            player.turns.begin(ns)
    assert player.did == [
        ("follow", 10, 0.5, "in"),
        ("answer", 20, "in"),
        ("answer", 30, "in"),
    ]


def test_what_it_leaves_to_others_is_the_first_sample_that_it_has_not_answered():
    player = Player(from_ns=10)
    player.turns.sample(10)
    player.turns.sample(20)
    assert player.turns.end() == 30
    player.turns.sample(30)
    player.turns.told(30, 1.5)
    assert player.did[-1] == ("follow", 30, 1.5)
    player.turns.begin(70)
    assert player.turns.end() == 70  # before it had a sample


def test_a_command_that_was_lost_holds_nothing_up():
    player = Player()
    player.turns.sample(10)
    player.turns.sample(20)
    player.turns.told(20, 2.0)
    assert player.did == [("follow", 20, 2.0)]


def test_in_real_time_the_newest_command_is_followed_at_once():
    player = Player(lockstep=False)
    player.turns.sample(10)  # nothing is known yet
    player.turns.told(12, 0.5)
    player.turns.sample(20)
    player.turns.begin(25)
    player.turns.sample(31)
    assert player.did == [("follow", 20, 0.5), ("answer", 31)]
    assert player.turns.end() == 32
