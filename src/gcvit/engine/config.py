"""Configuration files: a frozen dataclass, changed by a TOML or JSON file and written back as JSON.

The order is dataclass < recipe < file < flags: a recipe returns a dataclass, `load_config` lays a file over
it, and the command line lays its flags over that.
"""

import dataclasses
import json
import tomllib
import types
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from gcvit.files import write_atomically

Config = TypeVar("Config")


def load_config(base: Config, path: str | Path) -> Config:
    """`base` with the values of a `.toml` or `.json` file laid over it; what the file leaves out stays.

    A nested dataclass is a table in the file. JSON's null (TOML has none) stands for None.

    Raises ValueError, naming file and key, for a file that cannot be parsed, an unknown key (with the nearest
    known one), a value of the wrong type, and whatever the dataclass itself refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: there is no such configuration file")
    if path.suffix not in (".toml", ".json"):
        raise ValueError(f"{path}: a configuration file must end in .toml or .json")
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:  # of tomllib, json and the decoding of UTF-8 alike
        raise ValueError(f"{path}: not valid {path.suffix[1:].upper()}: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: the file must hold a table of settings, not {type(values).__name__}")
    try:
        return override(base, values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def override(base: Config, values: Mapping[str, Any]) -> Config:
    """`base`, a dataclass instance, with `values` laid over it; nested dataclasses take nested mappings.

    Raises ValueError for unknown keys (with the nearest known one) and for values of the wrong type.
    """
    return _override(base, values, root=base, prefix="")


def as_dict(config: Any) -> dict[str, Any]:
    """A dataclass instance as plain JSON types: tuples become lists, nested dataclasses dicts."""
    return json.loads(json.dumps(dataclasses.asdict(config), allow_nan=False))


def save_config(config: Any, path: str | Path) -> None:
    """Write a dataclass instance as JSON that `load_config` reads back, atomically."""
    write_atomically(Path(path), (json.dumps(as_dict(config), indent=2) + "\n").encode())


def differences(before: Mapping[str, Any], after: Mapping[str, Any], *, free: Collection[str] = ()) -> list[str]:
    """Where two configurations, as `as_dict` gives them, differ: "optim.lr: 0.001 → 0.002". Keys in `free` may."""
    old, new = dict(_flat(before)), dict(_flat(after))
    return [
        f"{key}: {_value(old, key)} → {_value(new, key)}"
        for key in dict.fromkeys([*old, *new])
        if key not in free and old.get(key) != new.get(key)
    ]


def require(holds: bool, key: str, value: object, expected: str) -> None:
    """Raise ValueError "key must be expected, not value" unless it holds; for a config's `__post_init__`."""
    if not holds:
        raise ValueError(f"{key} must be {expected}, not {value!r}")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _value(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else "not there"


def _override(base: Config, values: Mapping[str, Any], *, root: Any, prefix: str) -> Config:
    hints = get_type_hints(type(base))
    changes = {}
    for name, value in values.items():
        key = prefix + name
        if name not in hints:
            raise ValueError(f"unknown key {key!r}{_suggestion(key, root)}")
        current = getattr(base, name)
        if not dataclasses.is_dataclass(current):
            changes[name] = _convert(value, hints[name], key)
        elif isinstance(value, Mapping):
            changes[name] = _override(current, value, root=root, prefix=f"{key}.")
        else:
            raise ValueError(f"{key!r} must be a table of settings, not {value!r}")
    return dataclasses.replace(base, **changes)  # type: ignore[type-var]


def _suggestion(key: str, root: Any) -> str:
    """ ", did you mean …?" with the known key of that name elsewhere, or the most similar one."""
    known = list(_keys(root))
    leaf = key.rpartition(".")[2]
    near = [name for name in known if name.rpartition(".")[2] == leaf] or get_close_matches(key, known, n=1)
    if not near:
        leaves = {name.rpartition(".")[2]: name for name in known}
        near = [leaves[name] for name in get_close_matches(leaf, leaves, n=1)]
    return f"; did you mean {near[0]!r}?" if near else f"; the known ones are {', '.join(known)}"


def _keys(config: Any, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _keys(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def _convert(value: Any, hint: Any, key: str) -> Any:
    """`value`, as TOML or JSON gives it, as the annotated type; ValueError names the key and both types."""
    matches, result = _match(value, hint)
    if not matches:
        raise ValueError(f"{key!r} must be {_describe(hint)}, not {value!r}")
    return result


def _match(value: Any, hint: Any) -> tuple[bool, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return next((found for found in (_match(value, member) for member in arguments) if found[0]), (False, None))
    if origin is Literal:
        return value in arguments, value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False, None
        if arguments[-1] is Ellipsis:
            arguments = arguments[:1] * len(value)
        found = [_match(*pair) for pair in zip(value, arguments, strict=False)]
        return len(value) == len(arguments) and all(ok for ok, _ in found), tuple(item for _, item in found)
    if hint is type(None):
        return value is None, None
    if hint is float:
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        return numeric, float(value) if numeric else None
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    assert hint in (bool, str), f"a configuration cannot hold {hint}"
    return isinstance(value, hint), value


def _describe(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(member) for member in arguments)
    if origin is Literal:
        return " or ".join(repr(choice) for choice in arguments)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"a list, each {_describe(arguments[0])}"
        return f"a list of {len(arguments)} ({', '.join(_describe(argument) for argument in arguments)})"
    names = {
        type(None): "null",
        float: "a number",
        int: "a whole number",
        bool: "true or false",
        str: "a text",
    }
    return names[hint]
