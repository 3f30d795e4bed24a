"""Processes of their own, for what one process cannot show: kills, ranks, forks, limits.

They are forked from one that has imported everything already, which takes a fresh interpreter five seconds.
"""

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["gcvit.cli.main", "gcvit.tasks", "gcvit.tasks.train", "gcvit.cli.train", "timm"])


@dataclass(frozen=True)
class Done:
    """How a process ended: its exit code, minus a signal's number, and what it said."""

    returncode: int
    stdout: str
    stderr: str


class Apart:
    """A process that calls `function(*arguments)`, which is found by its module's name, with one thread; a keyword is
    a variable of its environment."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, **environment: object) -> None:
        self.folder = tempfile.TemporaryDirectory()
        said = [os.path.join(self.folder.name, name) for name in ("out", "err")]
        variables = {name: str(value) for name, value in environment.items()}
        self.process: ForkServerProcess = FORKED.Process(target=_call, args=(said, variables, function, arguments))
        self.process.start()

    @property
    def running(self) -> bool:
        return self.process.is_alive()

    def kill(self) -> None:
        self.process.kill()

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def said(self) -> list[str]:
        """What stands on stdout and stderr so far; nothing where it was killed before it began."""
        files = [Path(self.folder.name, name) for name in ("out", "err")]
        return [file.read_text(errors="replace") if file.exists() else "" for file in files]

    def done(self, seconds: float = 240) -> Done:
        """Wait for its end; an AssertionError, and its end, where it takes longer."""
        self.process.join(seconds)
        late = self.running
        if late:
            self.kill()
            self.process.join()
        said = self.said()
        self.folder.cleanup()
        assert not late, f"not done after {seconds} s\n{''.join(said)}"
        assert self.process.exitcode is not None
        return Done(self.process.exitcode, *said)


def ranks(count: int, function: Callable[..., Any], *arguments: Any, **environment: object) -> list[Apart]:
    """The processes of one group, as torchrun would start them; but nobody ends the others when one has ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free.getsockname()[1]}
    return [Apart(function, *arguments, **group, **environment, RANK=rank, LOCAL_RANK=rank) for rank in range(count)]


def _call(said: list[str], environment: dict[str, str], function: Callable[..., Any], arguments: tuple) -> None:
    import torch

    for descriptor, name in enumerate(said, start=1):
        with open(name, "wb") as file:
            os.dup2(file.fileno(), descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    multiprocessing.set_start_method(None, force=True)  # the usual one, where it would be the server's
    os.environ.update(environment)
    torch.set_num_threads(1)
    function(*arguments)
