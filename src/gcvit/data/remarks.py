"""What is worth saying about how a set of images was read, so that nothing in it is passed over without a word."""

import os
from collections import Counter
from collections.abc import Sequence

from gcvit.wording import harmless, listed, plural

# What systems leave in every folder.
SYSTEMS = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
    | {"__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information"}
)
SHOWN = 8  # suffixes in a line


class Remarks:
    """Files of a set that are not read, and how its folders were understood.

    Attributes:
        passed_over: number of such files by suffix, with its dot and in lower case; "" for files without one. Hidden
            ones, and those that systems leave everywhere (Thumbs.db), do not count.
        examples: one of them for each suffix.
        notes: sentences.
    """

    def __init__(self) -> None:
        self.passed_over: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.notes: list[str] = []

    def pass_over(self, file: object, number: int = 1) -> None:
        """Count a file, or `number` files of which it is one."""
        suffix = os.path.splitext(str(file))[1].lower()
        self.passed_over[suffix] += number
        self.examples.setdefault(suffix, str(file))

    def pass_over_loose(self, images: Sequence[str], folder: object, why: str) -> None:
        """Note images that lie in `folder` itself, as in "in no class's folder"."""
        if images:
            self.notes.append(f"{folder}: {plural(len(images), 'image')} {why} passed over, such as {images[0]}")

    def add(self, other: "Remarks") -> None:
        """Take in what another part of the set has."""
        for suffix, number in other.passed_over.items():
            self.passed_over[suffix] += number
            self.examples.setdefault(suffix, other.examples[suffix])
        self.notes += [note for note in other.notes if note not in self.notes]

    @classmethod
    def joined(cls, *parts: "Remarks") -> "Remarks":
        """Those of several parts of a set, apart from these."""
        whole = cls()
        for part in parts:
            whole.add(part)
        return whole

    def lines(self) -> list[str]:
        """All of it in words: the notes, and one line for the files."""
        lines = [harmless(note, keep="") for note in self.notes]
        if self.passed_over:
            files = plural(self.passed_over.total(), "file")
            lines.append(f"{files} passed over, by suffix: {self.kinds()}")
        return lines

    def kinds(self) -> str:
        """How many of each suffix, and where one is: "12 .heic (train/cat/1.HEIC) and 2 more"."""
        return listed([suffix for suffix, _ in self.passed_over.most_common()], SHOWN, self._kind)

    def _kind(self, suffix: str) -> str:
        example = harmless(self.examples[suffix], keep="")
        return f"{self.passed_over[suffix]:,} {harmless(suffix, keep='') or 'without suffix'} ({example})"


def is_seen(name: str) -> bool:
    """Whether a file or folder is a person's: neither hidden nor one that systems leave everywhere."""
    return not name.startswith(".") and name.lower() not in SYSTEMS
