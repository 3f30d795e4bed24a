"""Parsing with tyro: a command's arguments are a dataclass."""

from collections.abc import Sequence
from typing import TypeVar

import tyro

Arguments = TypeVar("Arguments")


def parse(kind: type[Arguments], command: str, argv: Sequence[str], *, default: Arguments | None = None) -> Arguments:
    """`argv` as a `kind`; `--help` and unknown or malformed flags end the process (exit code 0 and 2)."""
    return tyro.cli(
        kind,
        prog=f"gcvit {command}",
        args=list(argv),
        default=tyro.MISSING_NONPROP if default is None else default,
        config=(tyro.conf.PositionalMetavarFromFieldName,),
    )
