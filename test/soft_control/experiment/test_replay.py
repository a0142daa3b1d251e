from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from soft_control.experiment.closed_loop import record
from soft_control.experiment.replay import replay, summary
from soft_control.firmware_files import read_build
from soft_control.learning.dataset import Recording, RecordingWarning
from soft_control.learning.model import ModelError, free_run, load_model
from soft_control.learning.suitability import suited
from soft_control.link.codes import StepCostUnit
from soft_control.link.opening import open_session

RATE_HZ = 120.0


class Told:
    """A firmware that notes what it is told, and predicts that nothing moves."""

    def __init__(self, model_hash: str) -> None:
        self.info = SimpleNamespace(model_hash=model_hash, step_cost_unit=StepCostUnit.INSTRUCTIONS)
        self.resets: list[tuple[np.ndarray, np.ndarray]] = []
        self.observed: list[tuple[int, np.ndarray, np.ndarray]] = []
        self.measured: list[tuple[int, np.ndarray]] = []
        self.adapts: list[bool] = []

    def arm(self, command: np.ndarray, position: np.ndarray, adapts: bool) -> None:
        self.resets.append((command, position))
        self.adapts.append(adapts)

    def measurement(self, k: int, outputs: np.ndarray) -> None:
        self.measured.append((k, outputs))

    def observe(self, k: int, signals: np.ndarray, command: np.ndarray) -> SimpleNamespace:
        self.observed.append((k, signals, command))
        return SimpleNamespace(
            predicted=self.resets[-1][1], offset=0.0, step_cost=len(self.observed), doubted=0
        )


@pytest.fixture(scope="module")
def run() -> Recording:
    return record("tendon", seed=900, duration_s=4.0, rate_hz=RATE_HZ)


def with_gap(run: Recording) -> Recording:
    """Half a second is lost."""
    return run.rows(np.delete(np.arange(len(run)), slice(200, 260)))


def test_the_firmware_of_another_model_is_refused(tendon_model, run):
    with pytest.raises(ModelError, match=r"another model \(0123456789abcdef\) than this one \("):
        replay(Told("0123456789abcdef"), tendon_model.card, run)


@pytest.mark.filterwarnings("ignore::soft_control.learning.dataset.RecordingWarning")
def test_commands_and_signals_go_by_name_and_a_gap_starts_anew(tendon_model, run):
    card = tendon_model.card
    swapped = replace(
        with_gap(run),
        commands=with_gap(run).commands[:, ::-1],
        command_names=run.command_names[::-1],
        signals=with_gap(run).signals[:, ::-1],
        signal_names=run.signal_names[::-1],
    )
    told = Told(card.model_hash)
    seen = suited(card, swapped)
    assert seen.starts == (0, 200)
    answer = replay(told, card, seen)
    kept = np.delete(np.arange(len(run)), slice(200, 260))
    np.testing.assert_array_equal([reset[0] for reset in told.resets], run.commands[[0, 260]])
    assert [k for k, _, _ in told.observed] == [*range(199), *range(len(run) - 261)]
    fed = np.delete(kept, [199, len(kept) - 1])  # the last sample of a segment is only predicted
    np.testing.assert_array_equal([u for _, _, u in told.observed], run.commands[fed])
    np.testing.assert_array_equal(
        [s for _, s, _ in told.observed], run.signal(card.signal_names)[fed]
    )
    np.testing.assert_allclose(answer.predicted[[0, 200]], run.outputs[[0, 260]], atol=1e-9)
    assert len(answer.step_costs) == len(kept) - 2
    assert told.measured == [] and told.adapts == [False, False]
    figures = summary(told, card, seen, answer, "sil")
    assert figures["segments"] == 2 and figures["step_instructions_max"] == len(kept) - 2


def test_the_firmware_predicts_what_the_network_does_on_both_sides_of_a_gap(tendon, run):
    model = load_model(tendon.model)
    with pytest.warns(RecordingWarning, match="1 gap, the longest 0.508"):
        cut = suited(model.card, with_gap(run))
    with open_session("sil", read_build(tendon.firmware)) as session:
        answer = replay(session, model.card, cut)
    # float32 on the firmware's side, over up to 200 samples of some 15 mm
    np.testing.assert_allclose(answer.network, free_run(model, cut), atol=2e-6)


@pytest.mark.filterwarnings("ignore::soft_control.learning.dataset.RecordingWarning")
def test_a_calibration_tells_the_beginning_and_counts_the_rest(tendon_model, run):
    """2 s, of which 40 samples lie behind the gap."""
    card, told = tendon_model.card, Told(tendon_model.card.model_hash)
    seen = suited(card, with_gap(run))
    answer = replay(told, card, seen, calibrate_s=2.5)
    assert [k for k, _ in told.measured] == [*range(199), *range(40)]
    np.testing.assert_array_equal(
        [outputs for _, outputs in told.measured], seen.outputs[[*range(199), *range(200, 240)]]
    )
    assert told.adapts == [True, True]
    figures = summary(told, card, seen, answer, "sil", 2.5)
    rest = 1e3 * np.linalg.norm((answer.predicted - seen.outputs)[240:], axis=1)
    assert figures["free_run"][0]["rmse"] == pytest.approx(np.sqrt(np.mean(rest**2)))
    assert figures["calibrate_s"] == 2.5
    with pytest.raises(ValueError, match=r"seed 900 has 3.992 s: nothing is left to predict"):
        replay(told, card, seen, calibrate_s=4.0)


def test_what_a_day_is_like_is_learned_from_its_first_half(tendon):
    """Of a rig that goes a fifth less far; the model has been trained for seconds."""
    model = load_model(tendon.model)
    rig = record("tendon", seed=901, duration_s=40.0, rate_hz=RATE_HZ)
    day = replace(rig, outputs=0.8 * rig.outputs)
    found = {}
    for calibrate_s in (0.0, 20.0):
        with open_session("sil", read_build(tendon.firmware)) as session:
            answer = replay(session, model.card, suited(model.card, day), calibrate_s=calibrate_s)
        error = np.linalg.norm((answer.predicted - day.outputs)[2400:], axis=1)
        found[calibrate_s] = np.sqrt(np.mean(error**2))
    assert found[20.0] < 0.7 * found[0.0]


def test_softctl_says_what_a_recording_is_not(tendon, run, tmp_path: Path):
    """In millimetres, and commands by place: the CSV of a stranger."""
    rows = ["t_s,u1_deg,u0_deg," + ",".join(run.signal_names) + ",x_m,y_m,z_m"]
    for t, u, s, p in zip(run.t_s, run.commands, run.signals, run.outputs, strict=True):
        values = [t, *np.degrees(u[::-1]), *s, *(1e3 * p)]
        rows.append(",".join(f"{value:.9f}" for value in values))
    path = tmp_path / "stranger.csv"
    path.write_text("\n".join(rows))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "soft_control.cli", "replay", path, "--target", "sil"),
            *("--model", tendon.model, "--firmware", tendon.firmware),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert (
        "column z_m: z spans" in done.stderr
        and "in cm or mm?" in done.stderr
        and "Traceback" not in done.stderr
    )
