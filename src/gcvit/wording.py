"""Numbers, lists and other people's texts as a person reads them, in messages, tables and pages alike."""

import unicodedata
from collections.abc import Callable, Collection
from difflib import get_close_matches
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
LONGEST = 300  # characters of an item in a list

# Control characters, halves of pairs, and separators of lines and paragraphs.
OBEYED = ("Cc", "Cs", "Zl", "Zp")
# Embeddings, overrides and isolates, and the three marks that have no such class.
BIDIRECTIONAL = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
MARKS = "\u200e\u200f\u061c"


def harmless(text: str, *, keep: str = "\n\t") -> str:
    """`text` with escapes (\\x1b, \\u202e) for characters that a terminal obeys or that turn the order of letters.

    Names of files, classes and checkpoints may hold them. keep: characters to let through; "" for a name on a line.
    """
    return "".join(c.encode("unicode_escape").decode() if _is_obeyed(c) and c not in keep else c for c in text)


def is_harmless(text: object) -> bool:
    """Whether it is a text without such characters, not even a line break or a tab."""
    return isinstance(text, str) and harmless(text, keep="") == text


def composed(name: str) -> str:
    """The name in Unicode's composed form (NFC), by which names are compared: "é" is one letter on some systems and two
    on others."""
    return unicodedata.normalize("NFC", name)


def listed(items: Collection[Item], most: int = 5, show: Callable[[Item], str] = str) -> str:
    """The first `most` items, and how many more there are: "a, b and 3 more"; "none" for none. A last one has its own
    place, which "and 1 more" would take too. Endless ones are cut."""
    most += len(items) == most + 1
    texts = (show(item) for item in islice(items, most))
    shown = ", ".join(text if len(text) <= LONGEST else f"{text[:LONGEST]}…" for text in texts)
    more = len(items) - most
    return f"{shown} and {more:,} more" if more > 0 else shown or "none"


def instead(name: str, known: Collection[str]) -> str:
    """What was perhaps meant by a name that is none of the known ones: "did you mean a or b?", or else all of them."""
    near = get_close_matches(name, known, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"


def classes_named(names: Collection[str]) -> str:
    """ "10 classes: disc, ring and 8 more"; "" for none."""
    return f"{plural(len(names), 'class', 'es')}: {listed(names, 8)}" if names else ""


def plural(number: int, thing: str, ending: str = "s") -> str:
    """1 epoch, 2 epochs."""
    return f"{number:,} {thing}" + ("" if number == 1 else ending)


def rate(per_second: float) -> str:
    """What is done in a second: whole numbers from ten on, below it two digits: 1,234, 3.2, 0.043."""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"


def count(value: float) -> str:
    """A count with its unit: 28_234_000 → "28.2 M"."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.{1 if value < 100 * size else 0}f} {unit}"
    return f"{value:.0f}"


def percent(share: float | None) -> str:
    """A share of one as a percentage: 0.8341 → "83.4%"; "–" for none."""
    return "–" if share is None else f"{100 * share:.1f}%"


def by(size: Collection[int]) -> str:
    """(height, width) → "224×224"."""
    return "×".join(map(str, size))


def _is_obeyed(character: str) -> bool:
    if character in MARKS or unicodedata.category(character) in OBEYED:
        return True
    return unicodedata.bidirectional(character) in BIDIRECTIONAL
