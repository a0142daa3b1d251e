"""Slow means of the commands, which a network of a robot that creeps sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from soft_control.learning.blank_card import blank_card
from soft_control.learning.model import (
    IncrementNetwork,
    Model,
    card_windows,
    free_run,
    normalised_windows,
    rollouts,
    slow_means,
)
from soft_control.learning.rest import RestingNetwork, resting_network
from soft_control.learning.training import _Streams

from .test_training import RATE_HZ, TENDON, TINY, linear_run

MEMORY = TINY.model_copy(update={"memory_s": (0.1, 0.5)})


@pytest.fixture(scope="module")
def model() -> Model:
    """Outputs that go towards a plane of the slower mean of the commands, and see no signals."""
    runs = [linear_run(1), linear_run(2)]
    card = blank_card(TENDON, runs, [], MEMORY.model_copy(update={"signals": False}))
    m, n = len(card.command_names), len(card.output_names)
    weights = np.zeros((sum(card.input_sizes().values()), n))
    weights[card.command_columns : card.command_columns + n] = -0.2 * np.eye(n)
    weights[-m:] = 0.2 * np.array([[1.0, 0.5, 0.0], [0.0, -0.5, 1.0]])
    return Model(card, IncrementNetwork([(weights, np.zeros(n))], card.command_columns))


def test_a_mean_is_the_recursion_that_the_firmware_does(model):
    card, run = model.card, linear_run(3)
    commands = card.normalised_command(run.commands)
    assert card.input_sizes()["memory"] == card.memory_columns == 4
    means = np.tile(commands[0], 2)
    gains = 1.0 - np.exp(-1.0 / (np.array([0.1, 0.1, 0.5, 0.5]) * RATE_HZ))
    for k, found in enumerate(slow_means(card, commands)):
        acting = np.tile(commands[max(k - card.input_delay, 0)], 2)
        means = means + gains * (acting - means)
        np.testing.assert_allclose(found, means, atol=1e-12)


def test_windows_rollouts_and_free_runs_see_the_same_means(model):
    """A rollout from a window of the free run is the free run; each segment begins anew."""
    run = linear_run(3)
    run = replace(run, outputs=free_run(model, run))
    assert np.max(np.abs(rollouts(model, run, 5, held=True))) < 1e-12
    x, _, k = card_windows(model.card, run)
    means = slow_means(model.card, model.card.normalised_command(run.commands))
    np.testing.assert_allclose(normalised_windows(model.card, x)[:, -4:], means[k], atol=1e-12)
    halves = replace(run, starts=(0, 300))
    x, _, k = card_windows(model.card, halves)
    commands = model.card.normalised_command(run.commands)
    wanted = np.vstack([slow_means(model.card, part) for part in np.split(commands, [300])])
    np.testing.assert_allclose(normalised_windows(model.card, x)[:, -4:], wanted[k], atol=1e-12)


def test_streams_hold_signals_and_not_means_at_the_end():
    runs = [linear_run(1), linear_run(2)]
    settings = MEMORY.model_copy(update={"reset_share": 0.0, "held_share": 1.0})
    streams = _Streams(blank_card(TENDON, runs, [], settings), runs, settings)
    beside = streams.rollout()[2]
    at = streams.at + np.arange(settings.rollout_samples)[:, None]
    np.testing.assert_array_equal(beside[..., -4:], streams.memory[at])


def test_at_rest_a_mean_is_the_command(model):
    resting: RestingNetwork = resting_network(model)
    u, y = np.array([0.3, -0.2]), np.array([0.1, 0.2, -0.1])
    increment, by_command, _ = resting.jacobian(u, y)
    wanted = 0.2 * (np.array([[1.0, 0.5, 0.0], [0.0, -0.5, 1.0]]).T @ u - y)
    np.testing.assert_allclose(increment, wanted, atol=1e-12)
    np.testing.assert_allclose(by_command, 0.2 * np.array([[1.0, 0.5, 0.0], [0.0, -0.5, 1.0]]).T)
