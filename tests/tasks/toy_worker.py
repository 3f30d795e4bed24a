"""The command line of somebody who has added the toy task."""

import os
import signal
from typing import Any

from gcvit.cli.main import main
from gcvit.tasks import TASKS
from tasks.toy_task import TOY, Locate


def run(at: int, *words: str) -> None:
    """The command of these words, killed at that loss; 0: never."""
    TASKS.append(TOY)
    count, original = iter(range(1, 1000)), Locate.loss

    def loss(*arguments: Any) -> Any:
        measured = original(*arguments)

        def killed(*batch: Any) -> Any:
            if next(count) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return measured(*batch)

        return killed

    Locate.loss = loss  # type: ignore[method-assign]
    main(words)
