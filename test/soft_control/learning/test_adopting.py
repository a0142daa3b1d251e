"""Networks trained elsewhere: taken over exactly, or refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from soft_control import robots
from soft_control.learning.adopting import adopt
from soft_control.learning.excitation import excitation
from soft_control.learning.model import ModelError, card_windows, load_model, normalised_windows
from soft_control.learning.recording import Recording
from soft_control.learning.settings import TrainingError, TrainingSettings

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

RATE_HZ = 40.0
TENDON = robots.load("tendon")
SETTINGS = TrainingSettings(
    rig="tendon", rate_hz=RATE_HZ, input_lags=2, output_lags=2, input_delay=0, signals=False
)
# A stable linear rig: y(k+1) = y(k) + B u(k-1) - 0.2 y(k), commands in rad, outputs in m. It is
# also a network: tanh of a small number is that number.
POLE, SMALL = 0.2, 1e-3
B = POLE * np.array([[0.02, 0.0], [0.01, 0.03], [-0.02, 0.01]])
INPUTS, UNITS = 10, 5  # x = u(k), u(k-1), y(k), y(k-1)
V = np.zeros((INPUTS, UNITS))
V[2:4, :2] = np.eye(2)
V[4:7, 2:] = np.eye(3)
W = np.vstack([B.T, -POLE * np.eye(3)])


def run(seed: int, samples: int = 900) -> Recording:
    limit = np.array([1.0, 0.5])
    commands = excitation(samples / RATE_HZ, RATE_HZ, -limit, limit, 0.2 * limit, seed)
    position = np.zeros((samples, 3))
    for k in range(samples - 1):
        position[k + 1] = position[k] + B @ commands[max(k - 1, 0)] - POLE * position[k]
    return Recording(
        source=f"run {seed}",
        t_s=np.arange(samples) / RATE_HZ,
        commands=commands,
        outputs=position,
        signals=np.zeros((samples, 0)),
        reference=None,
        command_names=("servo_0", "servo_1"),
        output_names=("x", "y", "z"),
        signal_names=(),
        robot=TENDON,
    )


RUNS, JUDGED = [run(1), run(2)], [run(3)]


class Written:
    """An ONNX file of a network on x (1, 10), node by node."""

    def __init__(self, **inputs: int):
        self._inputs = inputs or {"x": INPUTS}
        self._nodes, self._constants = [], []

    def __call__(self, kind: str, *inputs, **attributes) -> str:
        names = []
        for value in inputs:
            if isinstance(value, str):
                names.append(value)
                continue
            array = np.asarray(value)
            array = array.astype(np.float32) if array.dtype.kind == "f" else array
            names.append(f"c{len(self._constants)}")
            self._constants.append(onnx.numpy_helper.from_array(array, names[-1]))
        made = f"t{len(self._nodes)}"
        self._nodes.append(onnx.helper.make_node(kind, names, [made], **attributes))
        return made

    def to(self, path, y: str):
        info, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
        inputs = [info(name, kind, ["batch", n]) for name, n in self._inputs.items()]
        graph = onnx.helper.make_graph(
            self._nodes, "g", inputs, [info(y, kind, None)], self._constants
        )
        opset = onnx.helper.make_opsetid("", 17)
        made = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
        path.write_bytes(made.SerializeToString())
        return path


def hidden(n: Written, x: str) -> str:
    """The tanh layer with scales of its own inside."""
    scaled = n("Div", n("Sub", x, np.full(INPUTS, 0.5)), np.full(INPUTS, 2.0))
    kernel, bias = 2.0 * SMALL * V, SMALL * 0.5 * V.sum(axis=0)
    return n("Tanh", n("Add", n("MatMul", scaled, kernel), bias))


def newest(n: Written) -> str:
    return n("Gather", "x", np.array([4, 5, 6]), axis=1)


def network(path):
    n = Written()
    increment = n("Mul", n("Gemm", hidden(n, "x"), W, np.zeros(3)), np.float32(1 / SMALL))
    return n.to(path / "arm.onnx", n("Add", newest(n), increment))


def test_it_predicts_what_the_network_predicts(tmp_path):
    card, report = adopt(network(tmp_path), RUNS, JUDGED, SETTINGS, tmp_path / "m")
    assert report.fit and report.c_agrees, report.unfit
    model = load_model(tmp_path / "m")
    assert model.card == card and card.recordings == ["run 1", "run 2"]
    assert [len(w) for w, _ in model.network.layers] == [INPUTS, UNITS]
    x, y, _ = card_windows(card, JUDGED[0])
    found = card.outputs(model.step(normalised_windows(card, x)))
    # float32 weights of a network whose tanh gets numbers of a thousandth.
    np.testing.assert_allclose(found, y, atol=1e-5 * np.max(card.output_scale))


def test_named_inputs_may_stand_in_any_order(tmp_path):
    n = Written(output=3, commands=4, past_outputs=3)
    x = n("Concat", "commands", "output", "past_outputs", axis=1)
    kernel = SMALL * V
    increment = n("MatMul", n("Tanh", n("MatMul", x, kernel)), W / SMALL)
    path = n.to(tmp_path / "named.onnx", n("Add", "output", increment))
    _, report = adopt(path, RUNS, JUDGED, SETTINGS, tmp_path / "m")
    assert report.fit, report.unfit


def test_the_same_network_gives_the_same_files(tmp_path):
    for name in ("a", "b"):
        adopt(network(tmp_path), RUNS, JUDGED, SETTINGS, tmp_path / name)
    for file in ("fk.keras", "fk.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_an_unfit_network_is_not_written(tmp_path):
    n = Written()
    wrong = n("MatMul", hidden(n, "x"), -W / SMALL)  # every gain has the wrong sign
    path = n.to(tmp_path / "wrong.onnx", n("Add", newest(n), wrong))
    _, report = adopt(path, RUNS, JUDGED, SETTINGS, tmp_path / "m")
    assert report.unfit and not (tmp_path / "m").exists()


def absolute(n: Written) -> str:
    return n("MatMul", hidden(n, "x"), W / SMALL)


def relu(n: Written) -> str:
    return n("Add", newest(n), n("MatMul", n("Relu", n("MatMul", "x", V)), W))


def skipping(n: Written) -> str:
    h = n("Tanh", n("MatMul", n("Concat", hidden(n, "x"), "x", axis=1), np.ones((15, 5))))
    return n("Add", newest(n), n("MatMul", h, W))


def product(n: Written) -> str:
    return n("Add", newest(n), n("Mul", newest(n), newest(n)))


def linear(n: Written) -> str:
    return n("Add", newest(n), n("MatMul", "x", V @ W))


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (absolute, "its outputs are no increments"),
        (relu, "'Relu_2': relu; the controller's networks have tanh alone"),
        (skipping, "reads something else than all of the layer before it"),
        (product, "knows networks of linear layers with tanh between them"),
        (linear, "it has no tanh layer"),
        (lambda n: n("MatMul", hidden(n, "x"), np.ones((5, 2))), "it has 2 outputs, the robot 3"),
    ],
)
def test_another_kind_of_network_is_refused(tmp_path, write, reason):
    n = Written()
    path = n.to(tmp_path / "other.onnx", write(n))
    with pytest.raises(ModelError, match=reason) as refused:
        adopt(path, RUNS, JUDGED, SETTINGS, tmp_path / "m")
    assert str(refused.value).startswith("other.onnx: ")
    assert not (tmp_path / "m").exists()


def test_other_lags_are_said(tmp_path):
    settings = SETTINGS.model_copy(update={"input_lags": 3})
    with pytest.raises(ModelError, match=r"inputs are x \(10\); it takes commands \(6\), output"):
        adopt(network(tmp_path), RUNS, JUDGED, settings, tmp_path / "m")


def test_recordings_are_needed(tmp_path):
    with pytest.raises(TrainingError, match="no recording to take scales from"):
        adopt(network(tmp_path), [], [], SETTINGS, tmp_path / "m")


def test_a_damaged_file_is_one_line(tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"\x08\x07rubbish")
    with pytest.raises(ModelError, match="bad.onnx: damaged") as refused:
        adopt(path, RUNS, JUDGED, SETTINGS, tmp_path / "m")
    assert str(refused.value).isprintable()
