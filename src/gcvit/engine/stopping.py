"""Stopping at the boundary of a step: a signal asks for it, the loop saves, and the same command goes on later."""

import os
import signal
import threading
from types import FrameType

NAMES = ("SIGTERM", "SIGUSR1", "SIGINT")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))  # Windows has not all of them


class Stopped(Exception):
    """The run was asked to stop, and has saved all that it needs to go on. `signal` is the one that asked."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


class StopRequest:
    """While entered, SIGTERM, SIGUSR1 and Ctrl-C set `signal` instead of ending the process.

    A second Ctrl-C is a KeyboardInterrupt as always. Outside the main thread, where Python has no signals, it does
    nothing.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, *ended: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self.signal == signal.SIGINT:
                raise KeyboardInterrupt
            os.write(2, b"\nStopping after this step; Ctrl-C again stops at once.\n")  # print may be interrupted
        self.signal = number
