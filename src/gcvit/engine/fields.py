"""What the fields of a configuration may hold: values of their type, within bounds that nobody has reason to pass."""

import dataclasses
import types
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from gcvit.errors import require

LONGEST_TEXT = 4096  # characters; the longest path that Linux takes
LONGEST_LIST = 16


@dataclasses.dataclass(frozen=True)
class Range:
    """The bounds of a number, or of each number in a tuple or in tuples there, as a part of the field's annotation:

        epochs: Annotated[int, Range(1, 1_000_000)] = 30

    low, high: the smallest and the largest, but for those in `but`. said: what a message says instead of "at least LOW"
    or "at most HIGH".
    """

    low: float
    high: float
    but: tuple[float, ...] = ()
    said: str = ""

    def check(self, key: str, value: Any) -> None:
        """Raise UserError, naming the setting, unless `value` is within the bounds."""
        for number in value if isinstance(value, tuple | list) else [value]:
            if isinstance(number, tuple | list):
                self.check(key, number)
            elif isinstance(number, int | float):
                fits = self.low <= number and number not in self.but  # also false for what is not a number
                low = f"above {self.low:g}" if self.low in self.but else f"at least {_number(self.low)}"
                require(fits, key, value, self.said or low)
                require(number <= self.high, key, value, self.said or f"at most {_number(self.high)}")


@dataclasses.dataclass(frozen=True)
class Means:
    """What a text stands for, as a part of the field's annotation; a message says it instead of "a text"."""

    said: str


Probability = Annotated[float, Range(0, 1, said="a probability, 0 to 1")]


def check_fields(config: Any) -> None:
    """Raise UserError, naming the field, for a value of another type than annotated, a number outside its `Range`, and
    a text that is too long or has a null character; for a configuration's `__post_init__`."""
    kind: Any = type(config)
    for name, (hint, _) in _annotations(kind).items():
        value = getattr(config, name)
        convert(value, hint, name)
        if isinstance(value, str):
            require(len(value) <= LONGEST_TEXT, name, value, f"a text of at most {LONGEST_TEXT:,} characters")
            require("\0" not in value, name, value, "a text without null characters")
    check_ranges(config)


def check_ranges(settings: Any, spelled: Callable[[str], str] = str) -> None:
    """Raise UserError for a number outside its field's `Range`; `spelled` gives a field's name as a message has it."""
    kind: Any = type(settings)
    for name, (_, limits) in _annotations(kind).items():
        for limit in limits:
            limit.check(spelled(name), getattr(settings, name))


def flag(name: str) -> str:
    """A field as the command line has it: --batch-size."""
    return "--" + name.replace("_", "-")


def convert(value: Any, hint: Any, key: str) -> Any:
    """`value`, as TOML or JSON gives it, as the annotated type; UserError names the key and both types."""
    matches, result = _match(value, hint)
    require(matches, key, value, _describe(hint))
    return result


@cache
def _annotations(kind: type) -> dict[str, tuple[Any, tuple[Range, ...]]]:
    """The type of each field, and the ranges that are annotated beside it; where a dataclass changes the default of a
    field that it inherits and says no range, the inherited one."""
    lineage = [get_type_hints(one, include_extras=True) for one in kind.__mro__]
    found = {}
    for name in (field.name for field in dataclasses.fields(kind)):
        extras = (getattr(hints.get(name), "__metadata__", ()) for hints in lineage)
        ranges = (tuple(extra for extra in some if isinstance(extra, Range)) for some in extras)
        found[name] = lineage[0][name], next(filter(None, ranges), ())
    return found


def _match(value: Any, hint: Any) -> tuple[bool, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _match(value, arguments[0])
    if origin in (Union, types.UnionType):
        return next((found for found in (_match(value, member) for member in arguments) if found[0]), (False, None))
    if origin is Literal:
        return value in arguments, value
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) > LONGEST_LIST:
            return False, None
        if arguments[-1] is Ellipsis:
            arguments = arguments[:1] * len(value)
        found = [_match(*pair) for pair in zip(value, arguments, strict=False)]
        return len(value) == len(arguments) and all(ok for ok, _ in found), tuple(item for _, item in found)
    if hint is type(None):
        return value is None, None
    if dataclasses.is_dataclass(hint):
        return type(value) is hint, value
    if hint is float:
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        return numeric, _float(value) if numeric else None
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    assert hint in (bool, str), f"a configuration cannot hold {hint}"
    return isinstance(value, hint), value


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return float("inf") if value > 0 else float("-inf")


def _describe(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return next((extra.said for extra in arguments[1:] if isinstance(extra, Means)), _describe(arguments[0]))
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(member) for member in arguments)
    if origin is Literal:
        return " or ".join(repr(choice) for choice in arguments)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"a list, each {_describe(arguments[0])}, at most {LONGEST_LIST} of them"
        if len(set(arguments)) == 1:
            return f"a list of {len(arguments)} (each {_describe(arguments[0])})"
        return f"a list of {len(arguments)} ({', '.join(_describe(argument) for argument in arguments)})"
    if dataclasses.is_dataclass(hint):
        return "a table of settings"
    names = {type(None): "null", float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
    return names[hint]


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
