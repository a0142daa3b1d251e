"""The serial bridge to the MCU.

wiring host   a sample goes to the firmware, its command comes back, and other nodes have the
              instruments
wiring mcu    the firmware has the instruments and needs nobody: what it reports is published here
"""

from __future__ import annotations

from typing import Any

from soft_control.nodes._at_host import AtHost
from soft_control.nodes._in_material import InMaterial
from soft_control.nodes._mcu import McuNode, McuParameters
from soft_control.nodes._node import main as run
from soft_control.nodes._restart import Restart


class Mcu(McuNode):
    Parameters = McuParameters

    def __init__(self) -> None:
        super().__init__()
        self.material: InMaterial | None = None
        self.at_host: AtHost | None = None
        if self.owns_instruments:
            self.material = InMaterial(self)
        else:
            self.at_host = AtHost(self)
        self.restart = Restart(self)
        self.start()

    def open(self) -> None:
        super().open()
        self.restart.on_open()

    def begin(self) -> None:
        super().begin()
        (self.material or self.at_host).begin()

    def close(self) -> None:
        """The last word on what was counted is that of the end."""
        if self.is_active and self.health:
            self.health.diagnostics.say_last()
        super().close()

    def halt(self) -> None:
        (self.material or self.at_host).halt()

    def on_everyone_matched(self) -> None:
        self.restart.on_everyone_matched()
        (self.material or self.at_host).on_everyone_matched()

    def configure(self, settings: dict[str, Any]) -> None:
        if self.material:
            self.material.ask(lambda: super(Mcu, self).configure(settings))
        else:
            super().configure(settings)


def main() -> None:
    run(Mcu)


if __name__ == "__main__":
    main()
