"""What a run leaves for a person to look at: curves, sample predictions and the report."""

from dataclasses import dataclass
from pathlib import Path

from gcvit import distributed
from gcvit.engine.figures import draw_curves, save_figure
from gcvit.engine.folder import REPORT
from gcvit.engine.log import read_log
from gcvit.files import write_atomically
from gcvit.tasks.classify.config import ClassifyConfig
from gcvit.tasks.classify.data import Images
from gcvit.tasks.classify.evaluate import Evaluation
from gcvit.tasks.classify.pictures import draw_predictions
from gcvit.weights.preprocessing import Preprocessing

SCORES = {"top1": "top-1", "top5": "top-5"}


@dataclass(frozen=True)
class Outputs:
    """Where they are."""

    report: Path
    curves: Path
    predictions: Path


def save_outputs(
    folder: Path,
    config: ClassifyConfig,
    images: Images,
    preprocessing: Preprocessing,
    evaluation: Evaluation,
    best_epoch: int,
) -> Outputs:
    """Write all of them, on rank 0; the report last, for it says that the run is finished."""
    outputs = Outputs(folder / REPORT, folder / "curves.png", folder / "predictions.png")
    if distributed.is_main():
        save_curves(folder, config)
        accuracy = evaluation.accuracy
        figure = draw_predictions(
            images.held_out,
            images.classes,
            evaluation.labels,
            evaluation.predicted,
            evaluation.confidence,
            title=f"{config.model}: {accuracy.top1:.1%} of {accuracy.images:,} held-out images right",
        )
        save_figure(figure, outputs.predictions)
        write_atomically(outputs.report, b"<!doctype html>")
    return outputs


def save_curves(folder: Path, config: ClassifyConfig) -> None:
    """Draw the log as it is, on rank 0, once there has been an evaluation."""
    if not distributed.is_main():
        return
    events = read_log(folder / "log.jsonl")
    if any(event["event"] == "evaluation" for event in events):
        title = f"{config.model} on {Path(config.data).name if config.data else 'the built-in shapes'}"
        save_figure(draw_curves(events, scores=SCORES, title=title), folder / "curves.png")
