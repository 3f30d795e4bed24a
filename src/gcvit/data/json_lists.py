"""JSON files of any size, read one element of their lists at a time: half a gigabyte takes a few megabytes."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from gcvit.errors import UserError
from gcvit.wording import harmless

PIECE = 2**21  # characters that are read at once; one element may be longer

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = "0123456789.+-eE"  # and "", the end of the window
_decode = json.JSONDecoder().raw_decode


def read_lists(path: Path) -> Iterator[tuple[str, Any]]:
    """The values of a JSON object, (key, value), in the file's order; of a list, (key, element) for each element, and
    nothing for an empty one.

    Numbers may be NaN or infinite. Raises UserError, naming the file, for what cannot be read, is no JSON, has a key
    twice, or holds no object (`NoObject`).
    """
    with reading(path), path.open(encoding="utf-8-sig") as file:
        yield from _Reader(file).values()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever is wrong with a JSON file that is read meanwhile, is a UserError that names it."""
    try:
        yield
    except NoObject as error:
        raise NoObject(f"{path}: {error}", error.first) from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not readable as JSON (it is no valid text, UTF-8)") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({harmless(str(error), keep=''):.200})") from error


class NoObject(UserError):
    """A file that holds no JSON object. first: of a list, its first element."""

    def __init__(self, message: str, first: Any = None) -> None:
        super().__init__(message)
        self.first = first


class _Malformed(ValueError):
    """What is no JSON."""


class _Reader:
    """A window on the text, which moves on."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.text, self.at, self.ended = file, "", 0, False

    def values(self) -> Iterator[tuple[str, Any]]:
        start = self._next()
        if start != "{":
            kind = {"[": "a list", "": "nothing"}.get(start, "a single value")
            first = next((self._value() for _ in self._until("]")), None) if start == "[" else None
            raise NoObject(f"it should hold a JSON object, not {kind}", first)
        keys: set[str] = set()
        for _ in self._until("}"):
            key = self._value()
            if not isinstance(key, str):
                raise _Malformed("a key that is no text")
            if key in keys:
                raise UserError(f"{key!r:.80} stands in it twice")
            keys.add(key)
            self._take(":")
            if self._next() == "[":
                for _ in self._until("]"):
                    yield key, self._value()
            else:
                yield key, self._value()
        if self._next():
            raise _Malformed("more text after the end")

    def _until(self, end: str) -> Iterator[None]:
        """Once for each element, which is then read; from the opening bracket to the closing one, `end`."""
        self.at += 1
        if self._next() == end:
            self.at += 1
            return
        while True:
            yield
            if self._next() == end:
                self.at += 1
                return
            self._take(",")

    def _take(self, mark: str) -> None:
        if self._next() != mark:
            raise _Malformed(f"expected {mark!r} and not {self._next()!r}")
        self.at += 1

    def _next(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                return ""

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = _decode(self.text, self.at)
                if self.text[end : end + 1] not in _NUMBER or not self._more():  # or the rest of it is still to come
                    self.at = end
                    return value
            except json.JSONDecodeError:
                if not self._more():
                    raise

    def _more(self) -> bool:
        """Read on, twice as much as is kept, so that a long value is not tried too often."""
        if self.ended:
            return False
        kept = self.text[self.at :]
        piece = self.file.read(max(PIECE, len(kept)))
        self.ended, self.text, self.at = not piece, kept + piece, 0
        return bool(piece)
