"""A number on the command line is within bounds that somebody has reason to pass, or it is refused before anything."""

import pkgutil
import re
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from gcvit import cli
from gcvit.cli.arguments import given, parse, with_parts
from gcvit.cli.predict import Predict
from gcvit.engine.fields import Range, flag
from gcvit.tasks import TASKS
from gcvit.tasks.detect.settings import DetectTelling

BEYOND = "9" * 400
NUMBER = re.compile(r"\b(int|float)\b")


def commands() -> Iterator[type[Any]]:
    """Each command's arguments, and those that each task adds."""
    for module in pkgutil.iter_modules(cli.__path__):
        for kind in vars(import_module(f"gcvit.cli.{module.name}")).values():
            if is_dataclass(kind) and kind.__module__ == f"gcvit.cli.{module.name}":
                yield kind
    for task in TASKS:
        yield with_parts(Predict, **{part: getattr(task, part)() for part in ("looks", "telling", "reading")})


def numbers(kind: type[Any]) -> Iterator[tuple[str, int]]:
    """Flags that take numbers, and how many each."""
    for name, hint in get_type_hints(kind).items():
        words = str(hint)
        if is_dataclass(hint):
            yield from numbers(hint)
        elif NUMBER.search(words.replace("<class 'int'>", "int")) and "str" not in words:
            pair = next((one for one in (hint, *get_args(hint)) if get_origin(one) is tuple), None)
            yield flag(name), 1 if pair is None or Ellipsis in get_args(pair) else len(get_args(pair))


def needed(kind: type[Any]) -> Iterator[str]:
    """The words that a command cannot do without."""
    for one in fields(kind):
        if one.default is MISSING and one.default_factory is MISSING:
            positional = "Positional" in str(get_type_hints(kind, include_extras=True)[one.name])
            yield from ["x"] if positional else [flag(one.name), "onnx"]


def shared(parts: Iterable[type[Any]]) -> list[str]:
    """Flags that several have and that do not take the same: `checked` would hold all of them to the first one's."""
    kinds: dict[str, list[Any]] = {}
    for part in parts:
        for name, hint in get_type_hints(part, include_extras=True).items():
            kinds.setdefault(name, []).append(hint)
    return [name for name, hints in kinds.items() if any(hint != hints[0] for hint in hints)]


CASES = [(kind, name, number) for kind in commands() for name, number in numbers(kind)]


def test_a_flag_of_several_tasks_takes_the_same_in_each() -> None:
    assert shared(getattr(task, part) for task in TASKS for part in ("looks", "telling", "reading")) == []

    @dataclass
    class Wider:
        min_score: Annotated[float, Range(0, 2)] = 0.3

    assert shared([DetectTelling, DetectTelling]) == []
    assert shared([DetectTelling, Wider]) == ["min_score"]


def test_all_commands_are_here() -> None:
    assert {"Predict", "Evaluate", "Doctor", "Serve", "Speed"} <= {kind.__name__ for kind, *_ in CASES}
    assert {"--scales", "--tiles", "--top-k", "--token", "--turn-seconds"} <= {name for _, name, _ in CASES}


@pytest.mark.parametrize(
    ("kind", "name", "number"),
    CASES,
    ids=[f"{number}-{kind.__name__}{name}" for number, (kind, name, _) in enumerate(CASES)],
)
def test_a_number_beyond_reason_is_refused(kind: type[Any], name: str, number: int, capsys) -> None:
    with pytest.raises((ValueError, SystemExit)) as caught:
        parse(kind, "command", [*needed(kind), name, *[BEYOND] * number])
    said = str(caught.value) if isinstance(caught.value, ValueError) else capsys.readouterr().err
    assert "equired" not in said
    assert name.removeprefix("--").replace("-", "_") in said.replace("-", "_")
    assert len(said) < 800 * number


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["data", "--task", "segment"], "segment"),
        (["data", "--task=segment", "--task", "detect"], "segment"),
        (["data", "--task="], ""),
        (["data", "--task"], None),
        (["data", "--tasks", "segment"], None),
        ([], None),
    ],
)
def test_a_flag_is_read_before_all_are_known(words: list[str], value: str | None) -> None:
    assert given("--task", words) == value
