"""What a run leaves for a person to look at: curves, sample predictions and the report."""

from dataclasses import dataclass
from pathlib import Path

from gcvit import distributed
from gcvit.engine.figures import draw_curves, save_figure
from gcvit.engine.folder import REPORT
from gcvit.engine.log import read_log
from gcvit.tasks.classify.charts import draw_confusion
from gcvit.tasks.classify.config import ClassifyConfig
from gcvit.tasks.classify.data import Images
from gcvit.tasks.classify.evaluate import Evaluation
from gcvit.tasks.classify.pictures import draw_predictions
from gcvit.tasks.classify.report import write_report

SCORES = {"top1": "top-1", "top5": "top-5"}


@dataclass(frozen=True)
class Outputs:
    """Where they are."""

    report: Path
    curves: Path
    predictions: Path
    confusion: Path


def save_outputs(folder: Path, config: ClassifyConfig, images: Images, evaluation: Evaluation) -> Outputs:
    """Write all of them, on rank 0; the report last, for it says that the run is finished."""
    outputs = Outputs(folder / REPORT, *(folder / f"{name}.png" for name in ("curves", "predictions", "confusion")))
    if distributed.is_main():
        save_curves(folder, config)
        accuracy = evaluation.accuracy
        title = f"{config.model}: {accuracy.top1:.1%} of {accuracy.images:,} held-out images right"
        save_figure(draw_predictions(images.held_out, images.classes, evaluation, title=title), outputs.predictions)
        confusion = draw_confusion(evaluation.labels, evaluation.predicted, images.classes, title=title)
        save_figure(confusion, outputs.confusion)
        data = ["--data", config.data] if config.data else ["--images", config.val_images]
        if images.divided:
            data += ["--val-fraction", config.val_fraction, "--seed", config.seed]
        write_report(
            folder,
            title=_title(config),
            evaluation=evaluation,
            images=images.held_out,
            classes=images.classes,
            config=config,
            events=read_log(folder / "log.jsonl"),
            commands=[
                ("measure it again", ["gcvit", "eval", "classify", folder / "best", *data]),
                ("name what is in your own images", ["gcvit", "predict", folder / "best", "photo.jpg"]),
                (
                    "go on from these weights with other images",
                    ["gcvit", "train", "classify", "finetune", "--weights", folder / "best", "--data", "YOUR_IMAGES"],
                ),
            ],
        )
    return outputs


def save_curves(folder: Path, config: ClassifyConfig) -> None:
    """Draw the log as it is, on rank 0, once there has been an evaluation."""
    if not distributed.is_main():
        return
    events = read_log(folder / "log.jsonl")
    if any(event["event"] == "evaluation" for event in events):
        save_figure(draw_curves(events, scores=SCORES, title=_title(config)), folder / "curves.png")


def _title(config: ClassifyConfig) -> str:
    return f"{config.model} on {Path(config.data).name if config.data else 'the built-in shapes'}"
