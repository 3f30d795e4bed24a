"""Configuration files: precedence, the way back, and messages that help."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest

from gcvit.engine.config import as_dict, load_config, override, save_config
from gcvit.errors import require


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        require(self.rate > 0, "rate", self.rate, "above 0")


@dataclass(frozen=True)
class Outer:
    epochs: int = 3
    name: str = "a"
    fast: bool = False
    size: int | tuple[int, int] | None = None
    kind: Literal["x", "y"] = "x"
    sides: tuple[int, ...] = ()
    inner: Inner = field(default_factory=Inner)


RECIPE = Outer(epochs=7, name="recipe", inner=Inner(rate=0.2))


def written(folder: Path, text: str, suffix: str = ".toml") -> Path:
    path = folder / f"settings{suffix}"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_overrides_the_recipe_and_the_recipe_the_defaults(tmp_path: Path) -> None:
    file = written(tmp_path, 'name = "file"\nsize = [32, 64]\nsides = [1, 2, 3]\n[inner]\nbetas = [0, 0.5]\n')
    loaded = load_config(RECIPE, file)
    assert loaded == Outer(
        epochs=7, name="file", size=(32, 64), sides=(1, 2, 3), inner=Inner(rate=0.2, betas=(0.0, 0.5))
    )
    assert replace(loaded, name="flag").name == "flag"
    assert RECIPE.name == "recipe"


def test_what_is_saved_loads_back_equal_whatever_lies_below(tmp_path: Path) -> None:
    config = Outer(epochs=1, fast=True, size=(3, 4), kind="y", sides=(5,), inner=Inner(1e-7, (0.0, 0.1)))
    save_config(config, tmp_path / "train.json")
    assert load_config(RECIPE, tmp_path / "train.json") == config
    assert json.loads((tmp_path / "train.json").read_text()) == as_dict(config)
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [("epoch", "'epochs'"), ("rate", "'inner.rate'"), ("inner.beta", "'inner.betas'"), ("rates", "'inner.rate'")],
)
def test_an_unknown_key_is_an_error_that_names_the_near_one(tmp_path: Path, key: str, suggestion: str) -> None:
    file = written(tmp_path, f"{key} = 3\n")
    with pytest.raises(ValueError, match=rf"settings.toml: unknown key '{key}'; did you mean {suggestion}\?"):
        load_config(RECIPE, file)


def test_an_unknown_key_like_no_other_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown key 'zzzz'; the known ones are epochs, name, .*inner\.betas"):
        override(RECIPE, {"zzzz": 1})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 1.5}, "'epochs' must be a whole number, not 1.5"),
        ({"epochs": True}, "'epochs' must be a whole number, not True"),
        ({"fast": 1}, "'fast' must be true or false, not 1"),
        ({"name": None}, "'name' must be a text, not None"),
        ({"size": "big"}, r"'size' must be a whole number or a list of 2 \(.*\) or null, not 'big'"),
        ({"size": [1, 2, 3]}, "'size' must be"),
        ({"kind": "z"}, "'kind' must be 'x' or 'y', not 'z'"),
        ({"sides": [1, "a"]}, "'sides' must be a list, each a whole number"),
        ({"inner": {"rate": "fast"}}, "'inner.rate' must be a number, not 'fast'"),
        ({"inner": 3}, "'inner' must be a table of settings, not 3"),
        ({"inner": {"rate": -1.0}}, "rate must be above 0, not -1.0"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_its_key(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(RECIPE, values)


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        ("epochs = ", ".toml", "not valid TOML"),
        ("{", ".json", "not valid JSON"),
        ("[1]", ".json", "must hold a table of settings, not list"),
        ("epochs: 3", ".yaml", "must end in .toml or .json"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, text: str, suffix: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_config(RECIPE, written(tmp_path, text, suffix))
    assert f"settings{suffix}" in str(caught.value)
    with pytest.raises(ValueError, match=r"missing\.toml: there is no such"):
        load_config(RECIPE, tmp_path / "missing.toml")
    with pytest.raises(ValueError, match=rf"it is a folder: give the file in it, as a run's {tmp_path}/train\.json"):
        load_config(RECIPE, tmp_path)
