"""Parsing with tyro: a command's arguments are a dataclass, to which a task adds its own."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from io import StringIO
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import tyro
from tyro.conf import OmitArgPrefixes, arg

from gcvit.data.settings import PIXEL_LIMIT
from gcvit.engine.fields import Range, check_ranges, flag
from gcvit.errors import UserError
from gcvit.tasks import TASKS
from gcvit.tasks.task import Task

if TYPE_CHECKING:
    from gcvit.tasks.opened import Opened
    from gcvit.weights.resolve import Source

Arguments = TypeVar("Arguments")
DESCRIBE = "--describe\0"  # no person can type it

SHORTER = (  # what tyro says, and what we say for it
    (
        r"Error parsing (\S+): no type matching (.+) could be instantiated from \[(.*?)\]\. Got errors:.*",
        r"\1: \3 is no \2",
    ),
    (r"Error parsing (?:[A-Z][a-z]|[a-z])[\w.]*: ", ""),  # of a dataclass, of which we have said it ourselves
    (r"Error parsing (\S+): ", r"\1: "),
    (r"invalid literal for int\(\) with base 10: (.+)", r"\1 is no whole number"),
    (r"could not convert string to float: (.+)", r"\1 is no number"),
    (r"Missing value for argument '(\S+)'\. Expected .*", r"\1: its value is missing"),
    (r"invalid choice (.+) for argument '(\S+)'\. Expected one of \((.*)\)\.", r"\2: \1 is none of \3"),
    (r"Unrecognized options: ", "there is no "),
    (r"Missing from .*", "missing:"),
)


@dataclass(frozen=True, kw_only=True)
class ReadsPictures:
    """What every command that reads pictures takes."""

    max_pixels: Annotated[int | None, Range(1, 10**12)] = None
    """the most pixels that a picture may have; none: 89,478,485, or GCVIT_MAX_PIXELS in the environment"""


class Described(Exception):
    """What `parse` raises, in the place of reading them, where DESCRIBE is among the arguments: the parser."""

    def __init__(self, parser: Any) -> None:
        self.parser = parser


def parse(kind: type[Arguments], command: str, argv: Sequence[str], *, default: Arguments | None = None) -> Arguments:
    """`argv` as a `kind`; `--help` ends the process. Raises UserError for unknown and malformed flags."""
    start: Any = tyro.MISSING_NONPROP if default is None else default
    named = (tyro.conf.PositionalMetavarFromFieldName,)
    if DESCRIBE in argv:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            raise Described(tyro.extras.get_parser(kind, prog=f"gcvit {command}", default=start, config=named))
    spelled = [_spelled(word, before) for before, word in zip(["", *argv], argv, strict=False)]
    with redirect_stderr(StringIO()) as box:
        try:
            found = tyro.cli(kind, prog=f"gcvit {command}", args=spelled, default=start, config=named)
        except SystemExit as stop:
            if stop.code:
                raise UserError(f"{_one_line(box.getvalue())}; `gcvit {command} --help` explains it") from None
            raise
    sys.stderr.write(box.getvalue())
    if empty := set(_empty(found)) & set(argv):
        raise UserError(f"{empty.pop()}: its value is missing")
    check_ranges(found, flag)
    if isinstance(found, ReadsPictures) and found.max_pixels is not None:
        os.environ[PIXEL_LIMIT] = str(found.max_pixels)  # which the processes that read pictures inherit
    return found


def checked(kind: type[Arguments], command: str, argv: Sequence[str], *parts: str) -> Any:
    """`argv` as a `kind` with these parts of all tasks, before a model or data are opened: that takes seconds, and only
    then is it known whose flags are right. What is wrong for every task ends the process here. None where help is asked
    about what is named: that of its own task is the better one."""
    if leading(argv) and {"-h", "--help"} & set(argv):
        return None
    return parse(with_parts(kind, **every_tasks(*parts)), command, argv)


def open_to_answer(
    kind: type[Arguments], command: str, argv: Sequence[str], source: Source
) -> tuple[Opened, Any, dict[str, Any]]:
    """A model, the arguments of a command that lets it answer, with its task's flags, and what of these its `answers`
    takes. Raises UserError for a model that cannot be opened, and for flags that are wrong."""
    from gcvit.opening import open as open_model

    opened = open_model(source, trust_code="--trust-code" in argv)
    task = opened.task
    refuse_other_tasks(task, argv, "looks", "telling")
    arguments: Any = parse(with_parts(kind, looks=task.looks(), telling=task.telling()), command, argv)
    how: dict[str, Any] = {
        "looks": whole(task.looks, arguments.looks),
        "telling": whole(task.telling, arguments.telling),
        "device": arguments.device,
        "precision": arguments.precision,
    }
    return opened, arguments, how


def refuse_other_tasks(task: Task, argv: Sequence[str], *parts: str) -> None:
    """Raises UserError for a flag that only other tasks have in these parts, and says what for."""
    own = {f.name for part in parts for f in fields(getattr(task, part))}
    words = {word.partition("=")[0] for word in argv}
    for other in TASKS:
        for name in (f.name for part in parts for f in fields(getattr(other, part)) if f.name not in own):
            if found := words & {flag(name), flag(f"no_{name}")}:
                raise UserError(f"{found.pop()} is for what {other.does}, and this {task.does}; leave it out")


def with_parts(kind: type[Arguments], keep: Sequence[str] = (), **parts: Any) -> type[Any]:
    """`kind` with further fields, dataclass instances that are the defaults. Their flags have no prefix, and neither
    have those of dataclasses in them, but for the fields in `keep`. A flag that several have is the first one's."""
    taken: set[str] = set()
    added = []
    for name, part in parts.items():
        added.append((name, Annotated[(flat := _flat(part, keep, taken)), arg(name="")], field(default=flat())))
        taken |= {f.name for f in fields(part)}
    made = make_dataclass(kind.__name__, added, bases=(kind,), frozen=True)
    made.__doc__ = kind.__doc__
    return made


def every_tasks(*parts: str) -> dict[str, Any]:
    """What the tasks add to a command, for its help where no model is named yet."""
    return {f"{task.name}_{part}": getattr(task, part)() for task in TASKS for part in parts}


def _flat(settings: Any, keep: Sequence[str], taken: Collection[str]) -> type[Any]:
    """The dataclass of an instance, whose values are its defaults, with flags as `with_parts` says."""
    hints = get_type_hints(type(settings), include_extras=True)
    rows = []
    for f in fields(settings):
        hint: Any = hints[f.name]
        if f.name in taken:
            hint = Annotated[hint, tyro.conf.SuppressFixed, tyro.conf.Fixed]
        elif is_dataclass(hint) and f.name not in keep:
            hint = Annotated[hint, OmitArgPrefixes]
        rows.append((f.name, hint, field(default=getattr(settings, f.name))))
    return make_dataclass(type(settings).__name__, rows, bases=(type(settings),), frozen=True)


def whole(kind: type[Arguments], settings: Any) -> Arguments:
    """A `kind` with the values of a part of `with_parts`."""
    return kind(**{f.name: getattr(settings, f.name) for f in fields(kind)})  # type: ignore[arg-type]


def leading(argv: Sequence[str]) -> list[str]:
    """The words before the first flag."""
    flags = (position for position, word in enumerate(argv) if word.startswith("-") and word != "-")
    return list(argv[: next(flags, len(argv))])


def given(name: str, argv: Sequence[str]) -> str | None:
    """What a flag is given, for what must be known before `parse`; None where it is given nothing."""
    for word, following in zip(argv, [*argv[1:], None], strict=False):  # nothing follows nothing
        flag, equals, value = word.partition("=")
        if flag == name:
            return value if equals else following
    return None


def _one_line(box: str) -> str:
    """What stands in the box that tyro draws around a mistake, of lines or, for other terminals, of ASCII."""
    rows = [row.strip("│╭╮╰╯") for row in box.splitlines()[1:]]
    said, *more = re.split(r"\n +(?:─+|-+) *\n", "\n".join(rows[set(rows[0]) <= set(" -") :]))
    line = " ".join(said.split())
    for theirs, ours in SHORTER:
        line = re.sub(f"^{theirs}" if theirs[0].isupper() else theirs, ours, line)
    if line == "missing:":
        return f"{line} {', '.join(name.strip() for name in re.findall('^ {5,6}([^ ].*)', said, re.MULTILINE))}"
    near = re.findall(r"^ {5,6}(--\S+)", "\n".join(more), re.MULTILINE) if line.startswith("there is no") else ()
    return f"{line} (did you mean {' or '.join(near)}?)" if near else line


def _empty(found: Any) -> Iterator[str]:
    """The flags of lists that hold nothing."""
    for name, value in ((f.name, getattr(found, f.name)) for f in fields(found)):
        if is_dataclass(value):
            yield from _empty(value)
        elif value == ():
            yield flag(name)


def _spelled(word: str, before: str) -> str:
    """The texts say "none" for no value, as a person would; tyro spells it "None"."""
    if before.startswith("--"):
        return "None" if word == "none" else word
    return re.sub(r"^(--[^=]+=)none$", r"\1None", word)
