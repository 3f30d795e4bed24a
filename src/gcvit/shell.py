"""Commands as a person can type them here, whether or not the environment that gcvit is installed in is active."""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import which

from gcvit.wording import is_harmless

# What `gcvit.cli.main` has commands for.
VERBS = (
    *("train", "eval", "predict", "explain", "info", "export", "serve", "doctor", "data", "completion", "tables"),
    "bench",
)
# `gcvit VERB` in a text, but not the one of `python -m gcvit` or `.venv/bin/gcvit`, and not "gcvit reads".
OURS = re.compile(rf"(?<![\w/.-])(?<!-m )gcvit(?= (?:{'|'.join(VERBS)}|--\w+)(?![\w-]))")


def typed(words: Sequence[object]) -> str:
    """A command as one line for a shell. Its first word may be `gcvit` or `python`: they are written as they can be
    called here, by name where PATH leads to this environment's. A `Path` that begins with a dash is no flag."""
    program, *rest = map(_word, words)
    called = {"gcvit": _gcvit, "python": _python}.get(program, lambda: [program])()
    return " ".join(map(_quoted, [*called, *rest]))


def as_typed(text: str) -> str:
    """A text in which `gcvit VERB` stands as it can be typed here."""
    return OURS.sub(lambda found: typed(["gcvit"]), text)


def install(extra: str) -> str:
    """What to type for the optional packages of one of pyproject.toml's extras."""
    command = typed(["python", "-m", "pip", "install", f".[{extra}]"])
    return f"in the folder that gcvit was installed from, type: {command}"


def _word(word: object) -> str:
    return f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)


def _quoted(word: str) -> str:
    """For a shell. What would be obeyed by a terminal, and bytes that are no text, stand in it as escapes."""
    if is_harmless(word):
        return shlex.quote(word)
    plain = (
        f"\\{chr(byte)}" if chr(byte) in "\\'" else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"
        for byte in os.fsencode(word)
    )
    return f"$'{''.join(plain)}'"


def _gcvit() -> list[str]:
    called = Path(sys.argv[0])
    by_name = called.stem == "gcvit" and called.is_file()  # not as `python -m gcvit`, by torchrun or from Python
    here = called if by_name else Path(sys.executable).with_name("gcvit")
    found = which("gcvit")
    if found and here.is_file() and here.samefile(found):
        return ["gcvit"]
    return [sys.argv[0]] if by_name else [*_python(), "-m", "gcvit"]


def _python() -> list[str]:
    # By path: an environment's Python is a link to one that knows none of its packages.
    return ["python" if which("python") == sys.executable else sys.executable]
