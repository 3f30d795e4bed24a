"""What happens to other ranks: what each of two processes does."""

import sys
import time
from datetime import timedelta

from gcvit import distributed
from gcvit.errors import UserError


class Odd(Exception):
    """An error that another process cannot build from its parts."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


def fail(error: BaseException) -> None:
    raise error


FAILURES = (
    *(UserError("user"), OSError(28, "full", "a"), KeyError("key"), RuntimeError("torch"), MemoryError()),
    *(KeyboardInterrupt("stop"), SystemExit(3), AssertionError("ours"), Odd("o", "dd"), GeneratorExit()),
)


def tell() -> None:
    """Rank 0 fails in every way in `on_main`, and each rank prints what it saw."""
    with distributed.process_group():
        seen = []
        for error in FAILURES:
            try:
                distributed.on_main(lambda error=error: fail(error))
            except BaseException as caught:
                seen.append(f"{type(caught).__name__}: {caught}")
        try:
            distributed.on_main(lambda: lambda: 0)  # a result that cannot be sent
        except Exception as caught:
            seen.append(f"{type(caught).__name__}")
        seen.append(str(distributed.on_main(lambda: {"all": "well"})))
        print(" | ".join(seen), flush=True)


def lose(fault: str) -> None:
    """Rank 1 stops answering ("hang") or fails alone ("raise")."""
    try:
        with distributed.process_group(timedelta(seconds=3)):
            distributed.wait()
            if distributed.rank() == 1:
                if fault == "raise":
                    raise UserError("a bad image\x1b[2J")
                time.sleep(1000)
            distributed.wait()
    except UserError as error:
        sys.exit(str(error))
