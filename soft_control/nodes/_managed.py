"""Nodes that own hardware: managed by the states of ROS 2's lifecycle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import State
from pydantic import Field
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn

from soft_control.nodes._node import NodeParameters, RigNode


class ManagedParameters(NodeParameters):
    autostart: bool = Field(
        True,
        description="Whether the node configures and activates itself; else it waits for "
        "`ros2 lifecycle set`.",
    )


class ManagedNode(LifecycleNodeMixin, RigNode, ABC):
    """One derives from it as from RigNode, says `start()` in place of `present()`, and has

        configure    open       the hardware is reached
        activate     begin      it is acted on; the first time the roll call is answered
        deactivate   halt       it is left in a safe state
        clean up     release    it can be used by others

    Each raises ValueError, RuntimeError or OSError with a sentence where it fails. At the end of
    the node what has begun is halted and what is open is released.
    """

    def __init__(self, **options: Any) -> None:
        RigNode.__init__(self, **options)
        LifecycleNodeMixin.__init__(self)
        self.is_open = self.is_active = False
        self.presented = False
        """It has been active before."""
        self._failure: Exception | None = None

    @abstractmethod
    def open(self) -> None: ...

    @abstractmethod
    def begin(self) -> None: ...

    @abstractmethod
    def halt(self) -> None: ...

    @abstractmethod
    def release(self) -> None: ...

    def start(self) -> None:
        """When all endpoints exist. Raises what `open` or `begin` do where the node starts itself,
        with nothing left open; a manager gets it in the log, and may try again."""
        if not self.parameters.autostart:
            return
        self.trigger_configure()
        if self._state_machine.current_state[0] == State.PRIMARY_STATE_INACTIVE:
            self.trigger_activate()
        if (failure := self._failure) is not None:
            self.close()
            raise failure

    def close(self) -> None:
        """Halts and releases, whatever the state."""
        try:
            self._halt()
        finally:
            self._release()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._do(self._open)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._do(self._begin)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._do(self._halt)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._do(self._release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._do(self.close)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._do(self.close)

    def _do(self, action: Callable[[], None]) -> TransitionCallbackReturn:
        """rclpy would swallow what is raised."""
        try:
            action()
        except (ValueError, RuntimeError, OSError) as failure:
            self._failure = failure
            if not self.parameters.autostart:
                self.get_logger().error(" ".join(str(failure).split()))
            return TransitionCallbackReturn.FAILURE
        self._failure = None
        return TransitionCallbackReturn.SUCCESS

    def _open(self) -> None:
        self.open()
        self.is_open = True

    def _begin(self) -> None:
        self.begin()
        self.is_active = True
        if not self.presented:
            self.presented = True
            self.present()

    def _halt(self) -> None:
        if self.is_active:
            self.is_active = False
            self.halt()

    def _release(self) -> None:
        if self.is_open:
            self.is_open = False
            self.release()
