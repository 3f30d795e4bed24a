"""Parsing with tyro: a command's arguments are a dataclass."""

import re
from collections.abc import Sequence
from typing import TypeVar

import tyro

Arguments = TypeVar("Arguments")


def parse(kind: type[Arguments], command: str, argv: Sequence[str], *, default: Arguments | None = None) -> Arguments:
    """`argv` as a `kind`; `--help` and unknown or malformed flags end the process (exit code 0 and 2)."""
    return tyro.cli(
        kind,
        prog=f"gcvit {command}",
        args=[_spelled(word, before) for before, word in zip(["", *argv], argv, strict=False)],
        default=tyro.MISSING_NONPROP if default is None else default,
        config=(tyro.conf.PositionalMetavarFromFieldName,),
    )


def _spelled(word: str, before: str) -> str:
    """The texts say "none" for no value, as a person would; tyro spells it "None"."""
    if before.startswith("--"):
        return "None" if word == "none" else word
    return re.sub(r"^(--[^=]+=)none$", r"\1None", word)
