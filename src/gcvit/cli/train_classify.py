"""`gcvit train classify`: trains a classifier from a recipe, a file and flags."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from gcvit.cli.arguments import parse
from gcvit.cli.output import facts, next_steps, per_class, percent, say
from gcvit.data.classify import held_out_folder
from gcvit.engine.config import load_config
from gcvit.recipes import RECIPES
from gcvit.tasks.classify import ClassifyConfig, TrainResult, train

QUICKSTART = "quickstart"


@dataclass(frozen=True)
class Train:
    """Train a classifier; without arguments a small one on built-in images.

    Flags win over the --config file, the file over the recipe.
    """

    recipe: Annotated[Positional[str], arg(metavar="RECIPE", help=f"where to start: {', '.join(RECIPES)}")] = QUICKSTART
    config: Path | None = None
    """a .toml or .json file with settings; a run's own train.json repeats the run"""
    out: Path | None = None
    """folder for the results, new or empty; none: the next gcvit-runs/RECIPE-001"""
    settings: OmitArgPrefixes[ClassifyConfig] = field(default_factory=ClassifyConfig)


def run(argv: Sequence[str]) -> None:
    """Train, then show what was reached, where it lies and what to type next."""
    recipe, file = _starting_point(argv)
    settings = _recipe(recipe)
    if file is not None:
        settings = load_config(settings, file)
    arguments = parse(Train, "train classify", argv, default=Train(recipe, file, None, settings))
    if (arguments.recipe, arguments.config) != (recipe, file):
        raise ValueError(f"give the recipe first and --config once: gcvit train classify {arguments.recipe} …")
    _report(train(arguments.settings, arguments.out, name=recipe), arguments.settings)


def _starting_point(argv: Sequence[str]) -> tuple[str, Path | None]:
    """The recipe and the file, which must be known before the flags, since they are the flags' defaults."""
    recipe = argv[0] if argv and not argv[0].startswith("-") else QUICKSTART
    for position, word in enumerate(argv):
        if word == "--config" and position + 1 < len(argv):
            return recipe, Path(argv[position + 1])
        if word.startswith("--config="):
            return recipe, Path(word.removeprefix("--config="))
    return recipe, None


def _recipe(name: str) -> ClassifyConfig:
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(RECIPES)}"
        if Path(name).is_dir():
            hint = f"a folder of images is given as --data {name}"
        raise ValueError(f"no recipe is called {name!r}; {hint}")
    return RECIPES[name]()


def _report(result: TrainResult, settings: ClassifyConfig) -> None:
    say()
    facts(
        [
            ("top-1", f"{percent(result.top1)} of {result.images:,} held-out images"),
            ("top-5", percent(result.top5)),
            ("best epoch", f"{result.best_epoch} of {settings.epochs}"),
            ("time", f"{result.seconds:,.0f} s, {result.images_per_second:,.0f} images/s in training"),
        ]
    )
    per_class(result.per_class)
    say()
    facts(
        [
            ("best weights", str(result.best)),
            ("last weights", str(result.last)),
            ("curves", str(result.curves)),
            ("predictions", str(result.predictions)),
        ]
    )
    if settings.data is None:
        next_steps(
            ["gcvit", "eval", "classify", result.best],
            ["gcvit", "data", "shapes", "shapes", "--train", 100, "--val", 100],
            ["gcvit", "predict", result.best, "shapes/val"],
            ["gcvit", "train", "classify", "small_images", "--data", "YOUR_IMAGES"],
        )
    else:
        divided = held_out_folder(settings.data) is None
        share = ["--val-fraction", settings.val_fraction, "--seed", settings.seed] if divided else []
        next_steps(
            ["gcvit", "eval", "classify", result.best, "--data", settings.data, *share],
            ["gcvit", "predict", result.best, "photo.jpg"],
            ["gcvit", "info", result.best],
        )
