"""`gcvit train classify`: trains a classifier from a recipe, a file and flags."""

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from gcvit.cli.arguments import parse
from gcvit.cli.output import facts, next_steps, per_class, percent, say, table
from gcvit.distributed import is_main, process_group
from gcvit.engine.config import load_config
from gcvit.engine.folder import Resume
from gcvit.recipes import RECIPES
from gcvit.tasks.classify import ClassifyConfig, TrainResult, train
from gcvit.tasks.classify.plan import QUARANTINE
from gcvit.tasks.classify.wording import rate

QUICKSTART = "quickstart"


@dataclass(frozen=True)
class Train:
    """Train a classifier; without arguments a small one on built-in images.

    Flags win over the --config file, the file over the recipe.
    """

    recipe: Annotated[Positional[str], arg(metavar="RECIPE", help="where to start; --list shows them")] = QUICKSTART
    show: Annotated[FlagCreatePairsOff[bool], arg(name="list", help="show the recipes, and train nothing")] = False
    config: Path | None = None
    """a .toml or .json file with settings; a run's own train.json repeats the run"""
    out: Path | None = None
    """folder for the results: new, or of a run that goes on; none: gcvit-runs/RECIPE-001, or the next number"""
    resume: Resume = "auto"
    """auto: an unfinished run with the same settings goes on, in --out or the newest of the recipe; never: a new one"""
    settings: OmitArgPrefixes[ClassifyConfig] = field(default_factory=ClassifyConfig)


def run(argv: Sequence[str]) -> None:
    """Train, then show what was reached, where it lies and what to type next."""
    if "--list" in argv:
        _list_recipes()
        return
    recipe, file = _starting_point(argv)
    settings = _recipe(recipe)
    if argv[:1] == [recipe] and {"-h", "--help"} & set(argv):
        say(f"{recipe}: {inspect.getdoc(RECIPES[recipe])}\n")
    if file is not None:
        settings = load_config(settings, file)
    arguments = parse(Train, "train classify", argv, default=Train(recipe, config=file, settings=settings))
    if (arguments.recipe, arguments.config) != (recipe, file):
        raise ValueError(f"give the recipe first and --config once: gcvit train classify {arguments.recipe} …")
    settings = arguments.settings
    if settings.data is None and recipe != QUICKSTART:
        raise ValueError(
            f"{recipe} needs your images: add --data PATH, a folder with train/CLASS/… and val/CLASS/…, or with "
            f"CLASS/… to be divided. On built-in images trains: gcvit train classify"
        )
    with process_group():
        result = train(settings, arguments.out, name=recipe, resume=arguments.resume)
        if is_main():
            _report(result, settings)


def _list_recipes() -> None:
    rows = [(name, *_summary(recipe.__doc__ or "")) for name, recipe in RECIPES.items()]
    table(["recipe", "what it trains", "cost"], rows)
    say("\nAll about one of them, with the commands for one GPU, one machine and many:")
    say("  gcvit train classify finetune --help")


def _summary(text: str) -> tuple[str, str]:
    """The first line of a recipe's text, and the first words about its cost."""
    cost = re.search(r"Cost: ([^.(;]*[^.(; ])", " ".join(text.split()))
    return text.splitlines()[0].rstrip("."), cost[1] if cost else ""


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
        hint = f"did you mean {near[0]}?" if near else "gcvit train classify --list shows them"
        if Path(name).is_dir():
            hint = f"a folder of images is given as --data {name}"
        raise ValueError(f"no recipe is called {name!r}; {hint}")
    return RECIPES[name]()


def _report(result: TrainResult, settings: ClassifyConfig) -> None:
    accuracy, outputs, speed = result.evaluation.accuracy, result.outputs, result.images_per_second
    top5 = [("top-5", percent(accuracy.top5))] if len(result.classes) > 5 else []
    low, high = result.evaluation.top1_interval
    quarantine = result.out / QUARANTINE
    bad = len(quarantine.read_text(encoding="utf-8").splitlines()) if quarantine.exists() else 0
    say()
    facts(
        [
            (
                "top-1",
                f"{percent(accuracy.top1)} of {accuracy.images:,} held-out images (95% interval {percent(low)} to "
                f"{percent(high)})",
            ),
            *top5,
            ("best epoch", f"{result.best_epoch} of {settings.epochs}"),
            *([("unreadable", f"{bad:,} images left out of training, listed in {quarantine}")] if bad else []),
            ("time", f"{result.seconds:,.0f} s" + (f", {rate(speed)} images/s in training" if speed else "")),
        ]
    )
    if caution := result.evaluation.caution:
        say(caution)
    shares = zip(result.classes, accuracy.per_class, strict=True)
    per_class({name: share for name, share in shares if share is not None})
    say()
    facts(
        [
            ("report", str(outputs.report)),
            ("best weights", str(result.best)),
            ("last weights", str(result.last)),
            ("curves", str(outputs.curves)),
            ("predictions", str(outputs.predictions)),
            ("confusions", str(outputs.confusion)),
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
        share = ["--val-fraction", settings.val_fraction, "--seed", settings.seed] if result.divided else []
        next_steps(
            ["gcvit", "eval", "classify", result.best, "--data", settings.data, *share],
            ["gcvit", "predict", result.best, "photo.jpg"],
            ["gcvit", "info", result.best],
        )
