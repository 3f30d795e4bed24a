"""Configuration files: a frozen dataclass, changed by a TOML or JSON file and written back as JSON.

The order is dataclass < recipe < file < flags: a recipe returns a dataclass, `load_config` lays a file over
it, and the command line lays its flags over that.
"""

import dataclasses
import json
import tomllib
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from gcvit.engine.fields import convert
from gcvit.engine.former import renewed
from gcvit.errors import UserError, naming, shown
from gcvit.files import write_json
from gcvit.meta import CONFIG

Config = TypeVar("Config")
LARGEST = 1 << 20  # bytes of a file of settings
MOST_DOTS = 1000  # on a line; for a dotted key Python takes memory as the square of its parts
LONGEST_KEY = 100  # characters that are compared with the known ones


class UnknownKey(UserError):
    """A setting that the configuration does not have."""


def load_config(base: Config, path: str | Path) -> Config:
    """`base` with the values of a `.toml` or `.json` file laid over it; what the file leaves out stays.

    A nested dataclass is a table in the file. JSON's null (TOML has none) stands for None.

    Raises UserError, naming file and key, for a file that cannot be parsed, an unknown key (with the nearest
    known one), a value of the wrong type, and whatever the dataclass itself refuses.
    """
    path = Path(path)
    if not path.is_file():
        advice = f"; it is a folder: give the file in it, as a run's {path / CONFIG}" if path.is_dir() else ""
        raise UserError(f"{path}: there is no such configuration file{advice}")
    if path.suffix not in (".toml", ".json"):
        raise UserError(f"{path}: a configuration file must end in .toml or .json")
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path}: a configuration file has at most {LARGEST:,} bytes, and this one has more")
    try:
        text = path.read_text(encoding="utf-8")
        values = _parse_toml(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:  # of tomllib, json and the decoding of UTF-8 alike
        raise UserError(f"{path}: not valid {path.suffix[1:].upper()}: {error}") from error
    except RecursionError as error:
        raise UserError(f"{path}: lists or tables are nested too deeply for a configuration file") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: the file must hold a table of settings, not {type(values).__name__}")
    with naming(path):
        return override(base, renewed(values))


def override(base: Config, values: Mapping[str, Any]) -> Config:
    """`base`, a dataclass instance, with `values` laid over it; nested dataclasses take nested mappings.

    Raises UnknownKey (with the nearest known one), and UserError for values of the wrong type.
    """
    return _override(base, values, root=base, prefix="")


def as_dict(config: Any) -> dict[str, Any]:
    """A dataclass instance as plain JSON types: tuples become lists, nested dataclasses dicts."""
    return json.loads(json.dumps(dataclasses.asdict(config), allow_nan=False))


def save_config(config: Any, path: str | Path) -> None:
    """Write a dataclass instance as JSON that `load_config` reads back, atomically."""
    write_json(Path(path), as_dict(config))


def differences(before: Mapping[str, Any], after: Mapping[str, Any], *, free: Collection[str] = ()) -> list[str]:
    """Where two configurations, as `as_dict` gives them, differ: "optim.lr: 0.001 → 0.002". Keys in `free` may."""
    old, new = dict(flat(before)), dict(flat(after))
    return [
        f"{key}: {_value(old, key)} → {_value(new, key)}"
        for key in dict.fromkeys([*old, *new])
        if key not in free and old.get(key) != new.get(key)
    ]


def _parse_toml(text: str) -> dict[str, Any]:
    if any(line.count(".") > MOST_DOTS for line in text.splitlines()):
        raise tomllib.TOMLDecodeError(f"a line has more than {MOST_DOTS:,} dots")
    return tomllib.loads(text)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings, by their keys with dots between them."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _value(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else "not there"


def _override(base: Config, values: Mapping[str, Any], *, root: Any, prefix: str) -> Config:
    hints = get_type_hints(type(base), include_extras=True)
    changes = {}
    for name, value in values.items():
        key = prefix + name
        if name not in hints:
            raise UnknownKey(f"unknown key {shown(key)}{_suggestion(key[:LONGEST_KEY], root)}")
        current = getattr(base, name)
        if not dataclasses.is_dataclass(current):
            changes[name] = convert(value, hints[name], repr(key))
        elif isinstance(value, Mapping):
            changes[name] = _override(current, value, root=root, prefix=f"{key}.")
        else:
            raise UserError(f"{key!r} must be a table of settings, not {shown(value)}")
    return dataclasses.replace(base, **changes)  # type: ignore[type-var]


def _suggestion(key: str, root: Any) -> str:
    """ ", did you mean …?" with the known key of that name elsewhere, or the most similar one."""
    known = [name for name, _ in flat(dataclasses.asdict(root))]
    leaf = key.rpartition(".")[2]
    near = [name for name in known if name.rpartition(".")[2] == leaf] or get_close_matches(key, known, n=1)
    if not near:
        leaves = {name.rpartition(".")[2]: name for name in known}
        near = [leaves[name] for name in get_close_matches(leaf, leaves, n=1)]
    return f"; did you mean {near[0]!r}?" if near else f"; the known ones are {', '.join(known)}"
