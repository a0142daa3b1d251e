"""Bounds of derivatives: never exceeded by samples, and not far above them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from soft_control.control.mpc_settings import MpcSettings
from soft_control.learning.model import IncrementNetwork, Model
from soft_control.proof.network import (
    JacobianBound,
    bound_jacobian,
    box_of,
    directions_of,
    mpc_gain,
)

SAMPLES = 100_000


def derivatives(network: IncrementNetwork, x: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(S, n, k): along each direction, by the chain rule layer after layer."""
    a = x
    chain = np.broadcast_to(directions, (len(x), *directions.shape))
    for w, b in network.layers[:-1]:
        a = np.tanh(a @ w + b)
        chain = (1.0 - a * a)[:, :, None] * (w.T @ chain)
    w, _ = network.layers[-1]
    return w.T @ chain + directions[network._newest]


def network_of(card, hidden: tuple[int, ...], seed: int) -> IncrementNetwork:
    rng = np.random.default_rng(seed)
    inputs = card.command_columns + card.output_columns + len(card.signal_names)
    sizes = [inputs, *hidden, len(card.output_names)]
    layers = [
        (rng.normal(0.0, 1.5 / np.sqrt(a), (a, b)), rng.normal(0.0, 0.3, b))
        for a, b in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    return IncrementNetwork(layers, card.command_columns)


@pytest.fixture(scope="module", params=[(20,), (12, 12)], ids=str)
def made(request, hand_made_card) -> SimpleNamespace:
    """A network of made-up weights, and samples of its box: within it, and at its corners."""
    card = hand_made_card
    model = Model(card, network_of(card, request.param, seed=len(request.param)))
    box = box_of(card)
    rng = np.random.default_rng(3)
    v = box.low + (box.high - box.low) * rng.random((SAMPLES, len(box.low)))
    v[: SAMPLES // 2] = np.where(rng.random((SAMPLES // 2, len(box.low))) < 0.5, box.low, box.high)
    found = [
        derivatives(model.network, x, directions_of(card))
        for x in np.array_split(v @ box.basis.T, 20)
    ]
    return SimpleNamespace(model=model, samples=np.concatenate(found), bound=bound_jacobian(model))


def test_no_sample_is_outside(made):
    columns = made.bound.by_lags.shape[2]
    for bound, samples in (
        (made.bound.by_lags, made.samples[:, :, :columns]),
        (made.bound.by_held, made.samples[:, :, columns:]),
    ):
        assert (bound[0] <= samples.min(axis=0)).all() and (samples.max(axis=0) <= bound[1]).all()


def test_constants_that_follow_hold_for_all_samples(made):
    columns = made.bound.by_lags.shape[2]
    m = len(made.model.card.command_names)
    by_lags, by_held = made.samples[:, :, :columns], made.samples[:, :, columns:]
    lipschitz = np.linalg.norm(by_lags[::50], 2, axis=(1, 2)).max()
    loop = np.linalg.norm(by_held[::50, :, :m], 2, axis=(1, 2)).max()
    assert lipschitz <= made.bound.lipschitz and loop <= made.bound.loop_gain


def test_with_one_layer_the_bound_is_near(hand_made_card):
    """Each unit then is bounded exactly; what is lost is that not all reach their ends at once."""
    model = Model(hand_made_card, network_of(hand_made_card, (20,), seed=1))
    network, card = model.network, model.card
    bound = bound_jacobian(model)
    box = box_of(card)
    w1, w2 = network.layers[0][0], network.layers[1][0]
    z = (box.low + box.high) / 2 @ (box.basis.T @ w1) + network.layers[0][1]
    r = (box.high - box.low) / 2 @ np.abs(box.basis.T @ w1)
    near, far = np.maximum(np.abs(z) - r, 0.0), np.abs(z) + r
    steep, flat = 1 - np.tanh(near) ** 2, 1 - np.tanh(far) ** 2
    terms = w2[:, :, None] * (w1.T @ directions_of(card))[:, None, :]
    exact = np.where(terms > 0, terms * steep[:, None, None], terms * flat[:, None, None]).sum(0)
    exact += directions_of(card)[card.command_columns :][: len(card.output_names)]
    found = np.concatenate([bound.by_lags[1], bound.by_held[1]], axis=1)
    assert np.allclose(found, exact, atol=1e-6)


def test_a_point_is_bounded_by_its_derivative(hand_made_card):
    model = Model(hand_made_card, network_of(hand_made_card, (10, 10), seed=2))
    box = box_of(hand_made_card)
    point = type(box)(box.low, box.low, box.basis)
    bound = bound_jacobian(model, point)
    _, jacobian = model.jacobian(box.basis @ box.low)
    assert np.allclose(bound.by_lags, jacobian, atol=1e-6)


def test_the_gain_within_the_horizon_holds_for_any_way_through_the_box(made):
    """Products of Jacobians of points by chance, which a held command's effect goes through."""
    card, bound = made.model.card, made.bound
    m, n, lags = len(card.command_names), len(card.output_names), card.output_lags
    columns = card.command_columns
    rng = np.random.default_rng(4)
    most = np.zeros((n, m))
    for _ in range(200):
        past = [np.zeros((n, m)) for _ in range(lags)]
        for t in range(4):
            jacobian = made.samples[rng.integers(SAMPLES)]
            by_command = jacobian[:, :columns].reshape(n, -1, m)[:, : t + 1].sum(axis=1)
            by_output = jacobian[:, columns : columns + lags * n].reshape(n, -1, n)
            now = by_command + sum(by_output[:, lag] @ past[lag] for lag in range(lags))
            past = [now, *past[:-1]]
            most = np.maximum(most, np.abs(now))
    scales = np.divide.outer(np.array(card.output_scale), np.array(card.command_scale))
    assert (most * scales <= bound.horizon_gain(4) + 1e-12).all()


def test_no_step_of_the_mpc_is_larger_than_its_gain(hand_made_card):
    """Whatever the network: (A'A + R)^-1 A' of matrices by chance, R from the moves of a plan."""
    card = hand_made_card
    m, n = len(card.command_names), len(card.output_names)
    settings = MpcSettings(
        horizon=card.input_delay + 8, control_horizon=3, output_weight=[1.0] * n,
        move_weight=[0.05] * m, command_min=list(card.robot.command_min),
        command_max=list(card.robot.command_max), move_max=[1e4] * m,
    )  # fmt: skip
    gain = mpc_gain(settings, card)
    built = settings.model_dump()
    q = np.max(np.array(built["output_weight"]) * np.array(_shown(card.robot.outputs)) ** 2
               * np.array(card.output_scale) ** 2)  # fmt: skip
    r = np.array(built["move_weight"]) * np.array(_shown(card.robot.commands)) ** 2
    moves = np.kron(np.eye(3) - np.eye(3, k=-1), np.eye(m))
    weight = moves.T @ np.diag(np.tile(r * np.array(card.command_scale) ** 2, 3)) @ moves
    rng = np.random.default_rng(8)
    largest = 0.0
    for _ in range(300):
        s = rng.normal(size=(8 * n, 3 * m)) * 10.0 ** rng.uniform(-3, 3)
        step = np.linalg.solve(q * s.T @ s + weight, q * s.T @ np.tile(np.eye(n), (8, 1)))
        largest = max(largest, np.linalg.norm(step, 2))
    assert 0.02 * gain < largest <= gain


def _shown(quantities) -> list[float]:
    return [quantity.factor for quantity in quantities]


def test_no_weight_on_moves_is_no_bound(hand_made_card):
    card = hand_made_card
    settings = MpcSettings(
        horizon=card.input_delay + 4, control_horizon=2,
        output_weight=[1.0] * len(card.output_names),
        move_weight=[0.0] * len(card.command_names),
        command_min=list(card.robot.command_min), command_max=list(card.robot.command_max),
        move_max=[1e4] * len(card.command_names),
    )  # fmt: skip
    assert mpc_gain(settings, card) == float("inf")


def test_forgetting_is_below_one_only_where_it_is(hand_made_card):
    n = len(hand_made_card.output_names)
    columns = hand_made_card.command_columns + hand_made_card.output_columns
    by_lags = np.zeros((2, n, columns))
    by_lags[1, :, hand_made_card.command_columns] = 0.9
    bound = JacobianBound(hand_made_card, by_lags, np.zeros((2, n, 1)))
    assert bound.forgetting == pytest.approx(0.9)
