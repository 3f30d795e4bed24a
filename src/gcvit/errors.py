"""The one error that is a person's to mend: wrong input, data or settings. Everything else that is raised is ours."""

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 80


class UserError(ValueError):
    """What was given cannot be used. The message says what, where, and what to do.

    The command line shows it as one line and ends with exit code 2; any other exception is a mistake of ours and shows
    its traceback.
    """


def require(holds: bool, key: str, value: object, expected: str) -> None:
    """Raise UserError "key must be expected, not value" unless it holds; for a config's `__post_init__`."""
    if not holds:
        raise UserError(f"{key} must be {expected}, not {shown(value)}")


@contextmanager
def naming(origin: object) -> Iterator[None]:
    """While entered, a UserError says first what it is about: "ORIGIN: what is wrong"."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{origin}: {error}") from error


def shown(value: object) -> str:
    """A value as a message shows it: short, whatever it is."""
    try:
        return _short.repr(value)
    except ValueError:  # Python refuses to write whole numbers of thousands of digits
        return "a number of thousands of digits"
