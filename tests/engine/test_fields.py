"""No field of a configuration takes a value beyond reason: each gives one message, at once and without memory."""

import dataclasses
import json
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from gcvit.cli.main import main
from gcvit.engine.config import load_config, override
from gcvit.errors import UserError
from gcvit.tasks import TASKS
from gcvit.tasks.classify import ClassifyConfig


def with_parts(config: Any) -> Iterator[Any]:
    """A configuration and all that are in it, but for `reading`, which the whole one checks."""
    yield config
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(part := getattr(config, field.name)) and field.name != "reading":
            yield from with_parts(part)


@dataclasses.dataclass(frozen=True)
class Other(ClassifyConfig):
    """As a new task might begin: another default, and not a word of the range."""

    batch_size: int = 16


def test_another_default_keeps_the_range() -> None:
    with pytest.raises(UserError, match="batch_size must be at least 1, not 0"):
        Other(batch_size=0)


CONFIGS = {type(config): config for task in TASKS for config in with_parts(task.config())}.values()
FIELDS = [(config, field.name) for config in CONFIGS for field in dataclasses.fields(config)]
NAN, INF, DIGITS = float("nan"), float("inf"), 10**400
# Of no use in any field whatever: numbers that none holds, things of no type that a file knows, and far too much.
ABSURD: list[Any] = [
    *(NAN, INF, -INF, 1e300, -1e300, DIGITS, -DIGITS, 10**9, -(10**9) - 2**31, 10**5000, 1j, b"x", {}, object()),
    *("x" * 10_000_000, "a\0b", [10**9] * 2, (NAN, NAN), (1e300, 1e300, 1e300, 1e300), [1] * 1_000_000, [[[]]], ()),
]


def fits(config: Any, name: str, value: Any) -> bool:
    """Whether a value that is absurd for most is one that this field may have."""
    hint = get_type_hints(type(config))[name]
    if value == 10**9 or value == -(10**9) - 2**31:  # a number of that size
        return name in ("seed", "ignore_label", "clip_grad") and value > 0
    return (
        value == () and name not in ("short", "before") and get_origin(hint) is tuple and get_args(hint)[-1] is Ellipsis
    )


@pytest.mark.parametrize(("config", "name"), FIELDS, ids=lambda value: getattr(type(value), "__name__", value))
def test_absurd_values_are_one_message_at_once(config: Any, name: str) -> None:
    tracemalloc.start()
    for value in ABSURD:
        start, (before, _) = time.process_time(), tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        if fits(config, name, value):
            dataclasses.replace(config, **{name: value})
            continue
        with pytest.raises(UserError) as caught:
            dataclasses.replace(config, **{name: value})
        message = str(caught.value)
        assert name in message, message
        assert len(message) < 300
        assert "\n" not in message
        assert time.process_time() - start < 0.5
        assert tracemalloc.get_traced_memory()[1] - before < 1 << 20
    tracemalloc.stop()


def numbers(hint: Any) -> bool:
    """Whether a type has numbers in it."""
    return hint in (int, float) or (get_origin(hint) is not Literal and any(map(numbers, get_args(hint))))


@pytest.mark.parametrize(("config", "name"), FIELDS, ids=lambda value: getattr(type(value), "__name__", value))
def test_every_number_has_its_bounds(config: Any, name: str) -> None:
    if numbers(get_type_hints(type(config))[name]):
        annotated = get_type_hints(type(config), include_extras=True)[name]
        assert getattr(annotated, "__metadata__", None), f"{name} needs a Range"


@pytest.mark.parametrize("recipe", [recipe for task in TASKS for recipe in task.recipes.values()])
def test_recipes_are_within_bounds(recipe: Any) -> None:
    config = recipe.config()
    assert dataclasses.replace(config) == config


def leaves(config: Any) -> Iterator[tuple[str, ...]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from ((field.name, *path) for path in leaves(value))
        else:
            yield (field.name,)


@pytest.mark.parametrize("config", [task.config() for task in TASKS], ids=[task.name for task in TASKS])
def test_the_same_from_a_file(config: Any, tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    for path in leaves(config):
        for value in ("1e999", "NaN", "-" + "9" * 400, "9" * 5000, "[" * 900 + "]" * 900, f'"{"x" * 5000}"', "{}"):
            text = value
            for key in reversed(path):
                text = json.dumps({key: 0}).replace("0", text)
            file.write_text(text)
            with pytest.raises(UserError) as caught:
                load_config(config, file)
            assert len(str(caught.value)) < 400 + len(str(file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = " + "[" * 100_000, "nested too deeply"),
        ("epochs = " + "9" * 400, "epochs must be at most 1,000,000"),
        ("optim.lr = " + "9" * 400, "lr must be at most 1,000, not inf"),
        ("epochs = 1e30", "'epochs' must be a whole number"),
        ("x = 1 # " + "y" * 2_000_000, "at most 1,048,576 bytes"),
        ("k" * 1_000_000 + " = 1", "unknown key"),
        ("a." * 100_000 + "a = 1", "a line has more than 1,000 dots"),
    ],
)
def test_files_beyond_reason(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "settings.toml").write_text(text)
    start = time.process_time()
    with pytest.raises(UserError, match=message) as caught:
        load_config(ClassifyConfig(), tmp_path / "settings.toml")
    assert time.process_time() - start < 2
    assert len(str(caught.value)) < 2500


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("epochs", "9" * 400),
        ("color_jitter", "1e300"),
        ("crop_pct", "1e-9"),
        ("img_size", "1000000"),
        ("workers", "1000000000"),
        ("lr", "nan"),
        ("rand_augment", "rand-m" + "9" * 400),
    ],
)
def test_the_same_from_flags(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train", "classify", "quickstart", f"--{flag.replace('_', '-')}", value])
    assert f"{flag} must be" in capsys.readouterr().err


def test_what_a_field_holds_is_of_its_type() -> None:
    for changes in ({"epochs": "3"}, {"epochs": True}, {"optim": {"lr": 1}}, {"img_size": [32, 32, 32]}):
        with pytest.raises(UserError, match=f"{next(iter(changes))} must be"):
            dataclasses.replace(ClassifyConfig(), **changes)
    assert override(ClassifyConfig(), {"optim": {"lr": 1}}).optim.lr == 1.0
