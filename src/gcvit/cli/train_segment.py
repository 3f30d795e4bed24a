"""`gcvit train segment`: trains UPerNet on a GC ViT from a recipe, a file and flags."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tyro.conf import OmitArgPrefixes

from gcvit.cli.output import facts, next_steps, percent, say, table
from gcvit.cli.training import TrainArguments, parse_training
from gcvit.distributed import is_main, process_group
from gcvit.recipes import SEGMENT
from gcvit.tasks.segment.config import SegmentConfig
from gcvit.tasks.segment.outputs import evaluation_flags
from gcvit.tasks.segment.train import TrainResult, train
from gcvit.tasks.wording import rate

SMALL = "segment_small"
WORST = 10  # classes shown


@dataclass(frozen=True)
class Train(TrainArguments):
    """Train a model that names every pixel; without arguments a small one on built-in scenes.

    Flags win over the --config file, the file over the recipe.
    """

    settings: OmitArgPrefixes[SegmentConfig] = field(default_factory=SegmentConfig)


def run(argv: Sequence[str]) -> None:
    """Train, then show what was reached, where it lies and what to type next."""
    arguments = parse_training(Train, "train segment", argv, SEGMENT, SMALL)
    if arguments is None:
        return
    recipe, settings = arguments.recipe, arguments.settings
    if settings.data is None and recipe != SMALL:
        raise ValueError(
            f"{recipe} needs your pictures: add --data PATH, a folder with images/training, annotations/training and "
            f"the same with validation. On built-in scenes trains: gcvit train segment"
        )
    with process_group():
        result = train(settings, arguments.out, name=recipe, resume=arguments.resume)
        if is_main():
            _report(result, settings)


def _report(result: TrainResult, settings: SegmentConfig) -> None:
    counts, outputs, speed = result.evaluation.counts, result.outputs, result.images_per_second
    say()
    facts(
        [
            ("mIoU", f"{percent(counts.miou)} of {len(result.scenes.held_out):,} held-out scenes"),
            ("boundary IoU", percent(counts.boundary_iou)),
            ("pixel accuracy", percent(counts.pixel_accuracy)),
            ("best step", f"{result.best_step:,} of {settings.steps:,}"),
            ("time", f"{result.seconds:,.0f} s" + (f", {rate(speed)} crops/s in training" if speed else "")),
        ]
    )
    found = zip(result.scenes.classes, counts.per_class_iou, strict=True)
    ranked = sorted(((iou, name) for name, iou in found if iou is not None), key=lambda pair: pair[0])
    title = f"the {WORST} worst of {len(ranked)} classes" if len(ranked) > WORST else "classes, the worst first"
    table([title, ">IoU"], [[name, percent(iou)] for iou, name in ranked[:WORST]])
    say()
    facts([("report", str(outputs.report)), ("best weights", str(result.best)), ("last weights", str(result.last))])
    if settings.data is None:
        side = min(settings.augment.crop)
        next_steps(
            ["gcvit", "eval", "segment", result.best, *evaluation_flags(settings, result.scenes.divided)],
            [*("gcvit", "data", "shapes", "scenes", "--as", "segment"), "--size", side, *("--train", 100, "--val", 20)],
            ["gcvit", "predict", "segment", result.best, "scenes/images/validation", "--out", "predicted"],
            ["gcvit", "train", "segment", "--data", "YOUR_PICTURES"],
        )
    else:
        next_steps(
            ["gcvit", "eval", "segment", result.best, *evaluation_flags(settings, result.scenes.divided)],
            ["gcvit", "predict", "segment", result.best, "photo.jpg", "--out", "predicted"],
        )
