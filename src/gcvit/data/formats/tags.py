"""The tags of a TIFF file, and of the EXIF block in other files, which has the same form."""

import re
import struct
from contextlib import suppress
from typing import Literal, NamedTuple

from gcvit.data.formats import Refused

ORIENTATION = 274
XMP = 700
DIRECTORIES = (34665, 34853, 40965)  # EXIF, GPS, interoperability: tables that a tag points to

MOST_TAGS = 2**16  # in one table
MOST_NUMBERS = 2**20  # in one tag: the offsets of so many tiles
MOST_BLOCKS = 64  # in one file
SPARE = 2**16  # bytes that tags may take beyond four times what there is: overlaps are harmless in small blocks

HEADERS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*")  # the last two are wrong and occur
_ANY_HEADER = re.compile(rb"II\*\0|MM\0\*")
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_LETTERS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}
_BIG_LETTERS = {13: "I", 16: "Q", 17: "q", 18: "Q"}


class TooLarge(Refused):
    """Tags whose values, laid over each other, would take many times the memory of their block."""


class _Entry(NamedTuple):
    letters: str
    length: int
    at: int


class Tags:
    """The first table of tags in a block that starts with a TIFF header.

    Raises Refused where there is no table, and TooLarge.

    Attributes:
        order: "<" or ">", as `struct` has it. big: whether offsets have 64 bits, as in BigTIFF.
    """

    def __init__(self, block: bytes | memoryview) -> None:
        header = bytes(block[:4])
        if header not in HEADERS:
            raise Refused("its tags have no header")
        self._block, self.big = block, b"+" in header
        self.order: Literal["<", ">"] = "<" if header.startswith(b"II") else ">"
        self._bytes = 0
        try:
            (first,) = self._unpack("Q" if self.big else "I", 8 if self.big else 4)
            self._entries = self._table(first)
        except struct.error:
            raise Refused("its table of tags is truncated") from None
        for entry in filter(None, map(self._entries.get, DIRECTORIES)):
            with suppress(struct.error):  # nothing of it is needed
                self._table(int(self._unpack(entry.letters[0], entry.at)[0]))

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def numbers(self, tag: int) -> tuple[int | float, ...]:
        """The values of a tag, none where it is missing. Raises Refused for more than a million, and for a part."""
        entry = self._entries.get(tag)
        if entry is None:
            return ()
        if entry.length > MOST_NUMBERS:
            raise Refused(f"its tag {tag} holds {entry.length:,} numbers, more than {MOST_NUMBERS:,}")
        try:
            return self._unpack(f"{entry.length * len(entry.letters)}{entry.letters[0]}", entry.at)
        except struct.error:
            raise Refused(f"truncated, or damaged: its tag {tag} is not all there") from None

    def number(self, tag: int, default: int) -> int:
        """The first value of a tag, a whole number. Raises Refused for a fraction."""
        values = self.numbers(tag)
        if values and values[0] != int(values[0]):
            raise Refused(f"its tag {tag} should be a whole number")
        return int(values[0]) if values else default

    def content(self, tag: int) -> bytes:
        """The bytes of a tag, none where it is missing."""
        entry = self._entries.get(tag)
        if entry is None:
            return b""
        return bytes(self._block[entry.at : entry.at + entry.length * struct.calcsize("=" + entry.letters)])

    def _table(self, at: int) -> dict[int, _Entry]:
        big = self.big
        (count,) = self._unpack("Q" if big else "H", at)
        at += 8 if big else 2
        size, most = (20, 8) if big else (12, 4)
        if count > min(MOST_TAGS, (len(self._block) - at) // size):
            raise struct.error
        entries: dict[int, _Entry] = {}
        for number in range(count):
            here = at + number * size
            tag, kind, length = self._unpack("HHQ" if big else "HHI", here)
            letters = _LETTERS.get(kind) or (_BIG_LETTERS.get(kind) if big or kind == 13 else None)
            if letters is None:
                continue
            values = here + (12 if big else 8)
            if (taken := length * struct.calcsize("=" + letters)) > most:
                (values,) = self._unpack("Q" if big else "I", values)
                self._bytes += max(0, min(taken, len(self._block) - values))
            entries.setdefault(tag, _Entry(letters, length, values))
        if self._bytes > 4 * len(self._block) + SPARE:
            raise TooLarge(f"its tags claim {self._bytes:,} bytes of {len(self._block):,}")
        return entries

    def _unpack(self, letters: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + letters, self._block, at)


def check_blocks(content: bytes) -> None:
    """Raise Refused if tags anywhere in a file, which its decoder would read, are too large."""
    for number, found in enumerate(_ANY_HEADER.finditer(content)):
        if number == MOST_BLOCKS:
            raise TooLarge(f"it holds more than {MOST_BLOCKS} blocks of tags")
        block_of_tags(memoryview(content)[found.start() :])


def block_of_tags(block: bytes | memoryview) -> Tags | None:
    """Its tags; None for what is no table. Raises TooLarge."""
    try:
        return Tags(block)
    except TooLarge:
        raise
    except Refused:
        return None


def orientation(tags: Tags | None, xmp: bytes = b"") -> int:
    """How a picture lies, 1 (upright) to 8, by its tags or else its XMP text; what is damaged says nothing."""
    found: tuple[float, ...] = ()
    with suppress(Refused):
        found = tags.numbers(ORIENTATION)[:1] if tags else ()
    if not found and (said := _XMP_ORIENTATION.search(xmp)):
        found = (int(said[1]),)
    return int(found[0]) if found and found[0] in range(1, 9) else 1
