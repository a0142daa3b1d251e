"""A board on a debug probe: pyOCD does the wire, stm32f4.py the flash.

pyOCD knows this chip only by a pack that it would have to load from the network; what is asked of
it here is what every Cortex-M has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from soft_control.supply.flash import FlashError
from soft_control.supply.stm32f4 import Stm32F4

TARGET = "cortex_m"


class SwdWay(Stm32F4):
    """Whose program begins by a reset."""

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        self._core = target

    def start(self, address: int) -> None:
        """A reset: the chip takes the vectors at the beginning of its flash by itself."""
        self._core.reset()


@contextlib.contextmanager
def swd(probe: str | None = None, session: Any = None) -> Iterator[SwdWay]:
    """The board at the only probe there is, or at the one of that serial number, halted.

    session: of pyOCD, for another probe than those on USB. Raises FlashError.
    """
    try:
        from pyocd.core.exceptions import Error
        from pyocd.core.helpers import ConnectHelper
    except ImportError:
        raise FlashError("pyocd is not installed: pip install soft_control[flash]") from None
    options = {"target_override": TARGET, "connect_mode": "halt", "resume_on_disconnect": False}
    try:
        if session is None:
            probes = ConnectHelper.get_all_connected_probes(blocking=False, unique_id=probe)
            if len(probes) != 1:
                names = ", ".join(found.unique_id for found in probes) or "none"
                raise FlashError(
                    f"debug probes that are there: {names}; connect one, or name it by --probe"
                )
            session = ConnectHelper.session_with_chosen_probe(
                blocking=False, unique_id=probes[0].unique_id, options=options
            )
        with session:
            session.target.halt()
            yield SwdWay(session.target)
    except Error as error:
        raise FlashError(f"the probe: {' '.join(str(error).split())}") from None
