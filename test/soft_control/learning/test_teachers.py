from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from soft_control import robots
from soft_control.learning.errors import rmse
from soft_control.learning.model import (
    NETWORK_FILE,
    IncrementNetwork,
    Model,
    free_run,
    load_model,
)
from soft_control.learning.recording import Recording, RecordingWarning
from soft_control.learning.settings import TrainingError, TrainingSettings
from soft_control.learning.teachers import consensus, imagine, imagined_samples, shuffled
from soft_control.learning.training import train

RATE_HZ = 50.0
TENDON = robots.load("tendon")
TINY = TrainingSettings(
    rate_hz=RATE_HZ, input_lags=2, output_lags=2, input_delay=1, hidden=(6,),
    updates=150, warm_start_updates=60, batch=8, rollout_samples=10, signals=False,
    difference_gain=5.0, learning_rate=5e-3, imagined_runs=4, imagined_s=6.0,
    teacher_hidden=(8,), teacher_updates=40,
)  # fmt: skip


def run_of(seed: int, samples: int = 300) -> Recording:
    """Two commands that walk, three outputs that follow them with noise."""
    rng = np.random.default_rng(seed)
    commands = np.cumsum(rng.normal(0.0, 0.1, (samples, 2)), axis=0)
    outputs = np.zeros((samples, 3))
    for k in range(samples - 1):
        wanted = 0.01 * np.tanh(commands[k] @ [[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]])
        outputs[k + 1] = outputs[k] + 0.2 * (wanted - outputs[k])
    return Recording(
        source=f"run {seed}",
        t_s=np.arange(samples) / RATE_HZ,
        commands=commands,
        outputs=outputs + rng.normal(0.0, 5e-4, outputs.shape),
        signals=np.zeros((samples, 0)),
        reference=None,
        command_names=("servo_0", "servo_1"),
        output_names=TENDON.output_names,
        signal_names=(),
        robot=TENDON,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What `train` makes of the same two runs, by changes of TINY, and what it said."""
    pytest.importorskip("tensorflow", reason="training needs soft_control[train]")

    def make(**changes):
        out, said = tmp_path_factory.mktemp("model"), []
        train([run_of(1), run_of(2)], [], TINY.model_copy(update=changes), out, said.append)
        return out, said

    return make


@pytest.fixture(scope="module")
def teacher(trained) -> Model:
    return load_model(trained(updates=1)[0])


def test_a_student_is_nearer_to_its_teachers_mean_than_a_network_without(trained):
    # Each teacher is what its seed gives when it is trained alone.
    alone = {"hidden": TINY.teacher_hidden, "updates": TINY.teacher_updates}
    teachers = [load_model(trained(seed=seed, **alone)[0]) for seed in (0, 1)]
    student, said = trained(teachers=2)
    single, _ = trained()
    unseen = run_of(3)
    mean = np.mean([free_run(teacher, unseen) for teacher in teachers], axis=0)
    distance = [
        rmse(TENDON, free_run(load_model(model), unseen) - mean)[0] for model in (student, single)
    ]
    assert distance[0] < 0.7 * distance[1]
    stages = list(dict.fromkeys(state.stage for state in said))
    assert stages == [
        *(f"teacher {i} of 2, {stage}" for i in (1, 2) for stage in ("warm start", "rollout")),
        "imagined runs",
        "warm start",
        "rollout",
    ]


@pytest.mark.long
def test_a_student_is_the_same_the_second_time(trained):
    first, second = (trained(teachers=2)[0] / NETWORK_FILE for _ in range(2))
    assert first.read_bytes() == second.read_bytes()


def test_imagined_runs_are_the_teachers_mean_on_commands_that_never_were(teacher):
    runs = [run_of(1), run_of(2)]
    imagined = imagine(runs, [teacher, teacher], TINY)
    assert [len(run) for run in imagined] == [200] * 4  # of 6 s at 50 Hz the first 2 s are left out
    given = np.vstack([run.commands for run in runs])
    commands = shuffled(given, np.random.default_rng(TINY.seed))[:300]
    outputs = np.tile(runs[0].outputs[0], (300, 1))
    whole = replace(runs[0], commands=commands, outputs=outputs)
    np.testing.assert_array_equal(imagined[0].commands, commands[100:])
    np.testing.assert_allclose(imagined[0].outputs, free_run(teacher, whole)[100:])
    assert not set(map(tuple, commands)) & set(map(tuple, given))
    assert not np.array_equal(imagined[0].commands, imagined[1].commands)


def test_channels_are_rolled_each_by_itself():
    commands = np.column_stack([np.arange(50), 100 + np.arange(50)])
    rolled = shuffled(commands, np.random.default_rng(0))
    offsets = [int(np.argmin(channel)) for channel in rolled.T]
    assert offsets[0] != offsets[1]
    for channel, offset, before in zip(rolled.T, offsets, commands.T, strict=True):
        np.testing.assert_array_equal(channel, np.roll(before, offset))


@pytest.mark.parametrize("far", [1.0, np.inf, np.nan])
def test_a_diverged_teacher_is_left_out(far):
    rng = np.random.default_rng(0)
    outputs = rng.normal(0.0, 0.1, (5, 40, 3))
    outputs[2, 20:] += far
    mean, left_out = consensus(outputs)
    assert left_out == [2]
    np.testing.assert_allclose(mean, outputs[[0, 1, 3, 4]].mean(axis=0))


def test_teachers_that_agree_all_count():
    outputs = np.zeros((3, 10, 2))
    mean, left_out = consensus(outputs)
    assert left_out == [] and np.array_equal(mean, outputs[0])
    outputs = np.random.default_rng(1).normal(size=(10, 40, 9))
    mean, left_out = consensus(outputs)
    assert left_out == []
    np.testing.assert_allclose(mean, outputs.mean(axis=0))


def test_no_mean_of_teachers_most_of_which_diverged():
    outputs = np.zeros((4, 10, 2))
    outputs[1:3] = np.nan
    with pytest.raises(TrainingError, match="2 of 4 teachers diverged"):
        consensus(outputs)


def test_what_is_left_out_is_said(teacher):
    good = teacher
    kernel, bias = good.network.layers[-1]
    layers = [*good.network.layers[:-1], (kernel, bias + 1.0)]  # an output range a sample
    wild = Model(good.card, IncrementNetwork(layers, good.card.command_columns))
    with pytest.warns(RecordingWarning, match="teacher 2: left out of 4 of 4 imagined runs"):
        found = imagine([run_of(1)], [good, wild, good], TINY)
    alone = imagine([run_of(1)], [good], TINY)
    np.testing.assert_allclose(found[0].outputs, alone[0].outputs)


def test_runs_that_imagine_nothing_are_refused(teacher):
    short = TINY.model_copy(update={"imagined_s": 2.0})
    with pytest.raises(TrainingError, match="imagined runs have 100 samples.*of use are 1"):
        imagine([run_of(1)], [teacher], short)
    seeing = teacher.card.model_copy(update={"signal_names": ("lace_00",)})
    with pytest.raises(TrainingError, match='nobody knows the signals .* "signals": false'):
        imagined_samples(seeing, [run_of(1)], TINY)


def test_imagined_runs_that_no_memory_holds_are_refused():
    TrainingSettings(imagined_runs=10_000, imagined_s=1e5)  # without teachers nothing is imagined
    with pytest.raises(ValueError, match="imagined_runs = 10000 of imagined_s = 60"):
        TrainingSettings(teachers=1, imagined_runs=10_000)
