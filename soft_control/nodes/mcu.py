"""The serial bridge to the MCU.

wiring host   a sample goes to the firmware, its command comes back, and other nodes have the
              instruments
wiring mcu    the firmware has the instruments and needs nobody: what it reports is published here
"""

from __future__ import annotations

from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from soft_control.experiment.ros_messages import Join, by_name, from_trajectory, to_ns
from soft_control.link.sensor_reader import WARNING_EVERY_S
from soft_control.link.session import TooLate
from soft_control.nodes._in_material import InMaterial
from soft_control.nodes._mcu import McuNode, McuParameters
from soft_control.nodes._node import main as run
from soft_control.topics import OUTPUTS, REFERENCE, SIGNALS

GAP_MAX = 100
"""Samples that the firmware bridges in one go (firmware/src/loop/control_loop.h)."""


class Mcu(McuNode):
    def __init__(self) -> None:
        super().__init__()
        self.k: int | None = None
        self.last_ns = 0
        self.material: InMaterial | None = None
        if self.owns_instruments:
            self.material = InMaterial(self)
        else:
            self.serve()
        self.present()

    def on_everyone_matched(self) -> None:
        if self.material:
            self.material.on_everyone_matched()

    def close(self) -> None:
        try:
            if self.material:
                self.material.close()
        finally:
            self.session.close()

    def serve(self) -> None:
        """Samples come from nodes, and commands go to nodes."""
        p: McuParameters = self.parameters
        self.seen: JointState | None = None
        # In realtime the tracker stamps with a clock of its own: no stamp is that of the signals.
        joins_outputs = p.tethered and not self.realtime
        topics = [SIGNALS] if p.trajectory else [SIGNALS, REFERENCE]
        self.join = Join(topics + [OUTPUTS] * joins_outputs, self.on_sample)
        if p.tethered:
            self.listen(JointState, OUTPUTS, self.on_outputs)
        self.listen(JointState, SIGNALS, lambda m: self.join.put(SIGNALS, m))
        if not p.trajectory:
            self.session.forget_trajectory()  # a board may have followed one in its last run
            self.listen(JointTrajectory, REFERENCE, lambda m: self.join.put(REFERENCE, m))

    def on_outputs(self, message: JointState) -> None:
        if self.realtime:
            self.seen = message
        else:
            self.join.put(OUTPUTS, message)

    def on_sample(self, now_ns: int, signals: JointState, *others: object) -> None:
        p: McuParameters = self.parameters
        live = by_name(signals, p.signal_names, SIGNALS, others=True)
        horizon: list[list[float]] = []
        if not p.trajectory:
            reference, *others = others
            horizon = from_trajectory(reference, p.output_names, frame=p.frame).tolist()
        outputs = others[0] if others else None
        missed = 0
        if self.k is None:
            self.k = 0
            # The emulator's clock stands still between samples of a lockstep run.
            self.arm(horizon[:-1], host_timeout_ms=p.host_timeout_ms if self.realtime else 0)
        else:
            if self.realtime:
                missed = min((now_ns - self.last_ns) // self.period_ns - 1, GAP_MAX)
            self.k += 1 + max(missed, 0)
        if self.seen and abs(to_ns(self.seen.header.stamp) - now_ns) <= self.period_ns:
            outputs = self.seen
        if outputs is not None:
            seen = by_name(outputs, p.output_names, OUTPUTS, others=True, frame=p.frame)
            self.session.measurement(self.k, seen)
        last = horizon[-1] if horizon else self.reference.at(self.k + self.session.info.horizon)
        self.last_ns = now_ns
        try:
            answer = self.session.sample(self.k, live, last)
        except TooLate as refused:
            # The firmware holds its command for this sample, as for one that never came.
            self.get_logger().warning(str(refused), throttle_duration_sec=WARNING_EVERY_S)
            return
        self.publish(now_ns, answer)
        if missed > 0 and horizon:
            # The firmware held its command for the samples that never came, and it lacks the points
            # that these would have brought.
            self.session.preload(self.k + 1, horizon[1:-1])
        self.send_ahead(self.k)


def main() -> None:
    run(Mcu)


if __name__ == "__main__":
    main()
