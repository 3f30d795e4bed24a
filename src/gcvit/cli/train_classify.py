"""`gcvit train classify`: trains a classifier from a recipe, a file and flags."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tyro.conf import OmitArgPrefixes

from gcvit.cli.output import facts, next_steps, per_class, percent, say
from gcvit.cli.training import TrainArguments, parse_training
from gcvit.distributed import is_main, process_group
from gcvit.recipes import CLASSIFY
from gcvit.tasks.classify import ClassifyConfig, TrainResult, train
from gcvit.tasks.classify.plan import QUARANTINE
from gcvit.tasks.wording import rate

QUICKSTART = "quickstart"


@dataclass(frozen=True)
class Train(TrainArguments):
    """Train a classifier; without arguments a small one on built-in images.

    Flags win over the --config file, the file over the recipe.
    """

    settings: OmitArgPrefixes[ClassifyConfig] = field(default_factory=ClassifyConfig)


def run(argv: Sequence[str]) -> None:
    """Train, then show what was reached, where it lies and what to type next."""
    arguments = parse_training(Train, "train classify", argv, CLASSIFY, QUICKSTART)
    if arguments is None:
        return
    recipe = arguments.recipe
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
