"""What several threads need and one of them makes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any


class Once:
    """Things that are made once each, by whoever asks first; who asks meanwhile waits."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._made: dict[Hashable, Future[Any]] = {}

    def __call__(self, name: Hashable, make: Callable[[], Any]) -> Any:
        """The thing of that name; `make` is called where nobody has asked for it yet. Raises what
        `make` has raised, to all."""
        with self._asking:
            first = name not in self._made
            made = self._made.setdefault(name, Future())
        if first:
            try:
                made.set_result(make())
            except BaseException as error:
                made.set_exception(error)
        return made.result()
