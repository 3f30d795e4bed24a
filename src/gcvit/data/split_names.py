"""What the folders and archives of training and held-out images are called, in the one place that knows."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import Literal, NamedTuple

Role = Literal["train", "val", "test"]
TRAIN: Role = "train"
WHOLE = "whole"  # neither for training nor held out: to be divided

# What is held out stands in the order in which it is preferred.
_WORDS: dict[str, Role] = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), TRAIN),
    **dict.fromkeys(("val", "validation", "valid", "validate", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "holdout"), "test"),
}
_ORDER = list(_WORDS)
# What a name may also say without meaning anything else: train2017, test_set, ValImages.
_PLAIN = r"(?:data|datasets?|sets?|images?|imgs?|pictures?|pics?|photos?|files?|folders?|dirs?|splits?|parts?|subsets?)"
_WORD = re.compile(rf"({'|'.join(sorted(_ORDER, key=len, reverse=True))}){_PLAIN}?")


class SplitName(NamedTuple):
    """What a name says of a split.

    role: what its images are for. word: that says so. rest: the other words, which make it "seg train" and not plainly
    "train".
    """

    role: Role
    word: str
    rest: tuple[str, ...]


def split_name(name: str) -> SplitName | None:
    """What `name` says of a split, in any case of letters; None for nothing, and for training and test in one."""
    words = _words(name)
    found = [match[1] for word in words if (match := _WORD.fullmatch(word))]
    roles = {_WORDS[word] for word in found}
    if not roles or {TRAIN, "test"} <= roles:
        return None
    word = min(found, key=_ORDER.index)  # train-val is trained on, val-test a validation
    rest = tuple(word for word in words if not _WORD.fullmatch(word) and not re.fullmatch(_PLAIN, word))
    return SplitName(_WORDS[word], word, rest)


def splits_among(names: Collection[str]) -> dict[str, Role]:
    """Which of the names, side by side, are those of splits: training first, then the held-out ones as preferred.

    These are plain names (Train, val2017, test_set), and where there is none, names that differ in nothing else
    (seg_train, seg_test). Beside a plain one, the others may say more (PublicTest), if no plain one has their role.
    """
    said = {name: one for name in names if (one := split_name(name))}
    plain = {one.role for one in said.values() if not one.rest}

    def belongs(one: SplitName) -> bool:
        if not one.rest:
            return True
        others = plain or {other.role for other in said.values() if other.rest == one.rest}
        return one.role not in plain and any((role == TRAIN) != (one.role == TRAIN) for role in others)

    taken = sorted((name for name, one in said.items() if belongs(one)), key=preference)
    return {name: said[name].role for name in taken}


def preference(split: str) -> tuple[int, bool, str]:
    """By it the names of splits are sorted: training first, then validation before test, plain names first."""
    said = split_name(split)
    return (_ORDER.index(said.word), bool(said.rest), split) if said else (len(_ORDER), True, split)


def is_held_out(split: str) -> bool:
    """Whether the images of a split of this name are for evaluation."""
    said = split_name(split)
    return said is not None and said.role != TRAIN


def held_out_below(folders: Iterable[tuple[str, ...]], depth: int = 0) -> tuple[str, ...] | None:
    """The path of a folder whose name, among its neighbours', is that of held-out images; None where there is none.

    folders: all that there are, as paths. depth: of those whose names do not count, such as classes.
    """
    inside: dict[tuple[str, ...], set[str]] = {}
    for path in folders:
        for at in range(depth, len(path)):
            inside.setdefault(path[:at], set()).add(path[at])
    for path, names in sorted(inside.items()):
        for name in filter(is_held_out, splits_among(names)):
            return (*path, name)
    return None


def _words(name: str) -> list[str]:
    name = re.sub(r"(?i)h[eo]ld[\W_]*out", "holdout", unicodedata.normalize("NFKC", name))
    words = []
    for letters in re.findall(r"[^\W\d_]+", name):
        whole = letters.lower()
        parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^A-Z]+", letters)  # TrainSet
        words += [whole] if _WORD.fullmatch(whole) else [part.lower() for part in parts]
    return words
