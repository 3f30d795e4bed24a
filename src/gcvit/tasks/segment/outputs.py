"""What a run leaves for a person to look at: curves, predictions, charts and the report."""

from dataclasses import dataclass
from pathlib import Path

from gcvit import distributed
from gcvit.engine.figures import draw_curves, save_figure
from gcvit.engine.folder import CONFIG, REPORT
from gcvit.engine.log import read_log
from gcvit.tasks.segment.charts import draw_confusion, draw_ious
from gcvit.tasks.segment.config import SegmentConfig, label_flags
from gcvit.tasks.segment.data import Scenes
from gcvit.tasks.segment.evaluate import Evaluation
from gcvit.tasks.segment.pictures import draw_sheet
from gcvit.tasks.segment.report import SCORES, shown, write_report


@dataclass(frozen=True)
class Outputs:
    """Where they are."""

    report: Path
    curves: Path
    predictions: Path
    classes: Path
    confusion: Path


def save_outputs(folder: Path, config: SegmentConfig, scenes: Scenes, evaluation: Evaluation) -> Outputs:
    """Write all of them, on rank 0; the report last, for it says that the run is finished."""
    pictures = (folder / f"{name}.png" for name in ("curves", "predictions", "classes", "confusion"))
    outputs = Outputs(folder / REPORT, *pictures)
    if distributed.is_main():
        save_curves(folder, config)
        counts, held_out, classes, palette = evaluation.counts, scenes.held_out, scenes.classes, scenes.palette
        title = f"{_title(config)}: mIoU {counts.miou:.1%}"
        images = [
            (f"{heading}: {name}", result) for heading, group in shown(evaluation, held_out) for name, result in group
        ]
        save_figure(draw_sheet(images, held_out, evaluation, classes, palette, title=title), outputs.predictions)
        save_figure(draw_ious(counts, classes, title=title), outputs.classes)
        save_figure(draw_confusion(counts, classes, title=title), outputs.confusion)
        write_report(
            folder,
            title=_title(config),
            evaluation=evaluation,
            scenes=held_out,
            classes=classes,
            palette=palette,
            config=config,
            events=read_log(folder / "log.jsonl"),
            commands=[
                (
                    "measure it again",
                    ["gcvit", "eval", "segment", folder / "best", *evaluation_flags(config, scenes.divided)],
                ),
                (
                    "colour your own images",
                    ["gcvit", "predict", "segment", folder / "best", "photo.jpg", "--out", "predicted"],
                ),
                (
                    "go on from these weights with other scenes",
                    [
                        *("gcvit", "train", "segment", "--config", folder / CONFIG, "--weights", folder / "best"),
                        *(["--no-pretrained"] if config.pretrained else []),
                        *("--data", "YOUR_SCENES"),
                    ],
                ),
            ],
        )
    return outputs


def save_curves(folder: Path, config: SegmentConfig) -> None:
    """Draw the log as it is, on rank 0, once there has been an evaluation."""
    if not distributed.is_main():
        return
    events = read_log(folder / "log.jsonl")
    if any(event["event"] == "evaluation" for event in events):
        figure = draw_curves(events, scores=SCORES, title=_title(config), by_step=True)
        save_figure(figure, folder / "curves.png")


def evaluation_flags(config: SegmentConfig, divided: bool) -> list[object]:
    """The flags of `gcvit eval segment` for what the run has held out, window by window where the run did so."""
    usual = SegmentConfig()
    flags: list[object] = ["--data", config.data] if config.data else ["--images", config.val_images]
    flags += label_flags(config.classes_file, config.ignore_label, config.zero_is_ignored)
    if divided:
        flags += ["--val-fraction", config.val_fraction, "--seed", config.seed]
    return flags + (["--mode", config.eval_mode] if config.eval_mode != usual.eval_mode else [])


def _title(config: SegmentConfig) -> str:
    return f"UPerNet on {config.model}, {Path(config.data).name if config.data else 'the built-in scenes'}"
