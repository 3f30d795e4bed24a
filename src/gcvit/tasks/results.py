"""What runs and evaluations leave in a folder: figures to compute with, charts and a report to look at."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from gcvit import distributed
from gcvit.engine.figures import draw_curves, save_figure
from gcvit.engine.folder import REPORT
from gcvit.engine.run import run_events
from gcvit.errors import UserError
from gcvit.files import require_folder, write_atomically, write_json
from gcvit.meta import CONFIG
from gcvit.tasks import page
from gcvit.tasks.config import RunConfig
from gcvit.tasks.evaluate import Measured
from gcvit.tasks.evaluation import CSV, Evaluation
from gcvit.tasks.task import Data, Task
from gcvit.wording import harmless

Commands = Sequence[tuple[str, Sequence[object]]]
"""(what for, its words), to type next."""


def save_outputs(folder: Path, task: Task, config: RunConfig, data: Data, evaluation: Evaluation) -> dict[str, Path]:
    """Write a run's curves, charts and report, on rank 0; the report last, for it says that the run is finished.

    Returns their paths by what they are, on every rank.
    """
    title = run_title(task, config, data)
    save_curves(folder, task, config)
    names = ["curves"]
    if distributed.is_main():
        for name, chart in evaluation.charts(f"{title}: {evaluation.numbers()[0].value}").items():
            save_figure(chart, folder / f"{name}.png")
            names.append(name)
        again = ["gcvit", "train", task.name, "--config", folder / CONFIG, "--weights", folder]
        again += [*(["--no-pretrained"] if config.pretrained else []), "--data", "YOUR_IMAGES"]
        write_report(
            folder,
            title=title,
            evaluation=evaluation,
            task=task,
            config=config,
            events=run_events(folder),
            commands=[
                ("measure it again", ["gcvit", "eval", folder]),
                ("try it on your own images", ["gcvit", "predict", folder, "photo.jpg"]),
                *([("go on from these weights with other images", again)] if task.needs else []),
            ],
        )
    return {"report": folder / REPORT} | {name: folder / f"{name}.png" for name in distributed.broadcast(names)}


def save_curves(folder: Path, task: Task, config: RunConfig) -> None:
    """Draw a run's log as it is, on rank 0, once there has been an evaluation."""
    if not distributed.is_main():
        return
    events = run_events(folder)
    if any(event["event"] == "evaluation" for event in events):
        figure = draw_curves(events, scores=dict(task.curves), title=folder.name, unit=config.unit)
        save_figure(figure, folder / "curves.png")


def run_title(task: Task, config: RunConfig, data: Data) -> str:
    """What a run trains on what, for a person."""
    return f"{task.kind} {config.model} on {Path(data.name).name}".strip()


def write_evaluation(folder: Path, measured: Measured, *, flags: Sequence[str] = ()) -> None:
    """Write metrics.json, the evaluation's tables as CSV, its charts as PNG, and report.html.

    flags: what `gcvit predict` needs besides the model and pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    result, opened = measured.evaluation, measured.opened
    write_json(folder / "metrics.json", measured.to_dict())
    for name, table in result.tables().items():
        write_csv(folder / f"{name}.csv", table)
    for name, content in result.files().items():
        write_atomically(folder / name, content)
    score = result.numbers()[0]
    for name, chart in result.charts(f"{opened.name}: {score.name} {score.value}, {result.basis()}").items():
        save_figure(chart, folder / f"{name}.png")
    write_report(
        folder,
        title=measured.title,
        evaluation=result,
        task=opened.task,
        facts=[
            ("checkpoint", measured.source),
            ("images", measured.described),
            *([] if opened.exported else [("parameters", f"{opened.parameters:,}")]),
            ("shown", measured.title),
            ("device", f"{measured.device}, {measured.precision}"),
            ("time", f"{result.seconds:,.1f} s"),
        ],
        commands=[("try it on your own images", ["gcvit", "predict", Path(measured.source), "photo.jpg", *flags])],
    )


def write_report(
    folder: Path,
    *,
    title: str,
    evaluation: Evaluation,
    task: Task,
    config: RunConfig | None = None,
    events: Sequence[Mapping[str, Any]] = (),
    facts: Sequence[tuple[str, str]] = (),
    commands: Commands = (),
) -> Path:
    """Write `folder`/report.html: one file that needs nothing else, for a person who was not there.

    config, events: of the training run and its log. facts: (name, value) lines about cost and environment, after those
    that the log tells. commands: to type next.
    """
    unit = "epoch" if config is None else config.unit
    sections = [
        page.headline(title, f"Measured on {evaluation.basis()}.", evaluation.caution, evaluation.numbers()),
        page.curves(events, dict(task.curves), unit),
        *evaluation.sections(),
        page.left_out(evaluation.unreadable),
        page.facts([*page.told(events, unit), *facts]),
        page.configuration(config, task.config()),
        page.commands(commands),
    ]
    return page.write_page(folder, title, sections)


def write_csv(path: Path, table: CSV) -> None:
    """Write a table, atomically."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.heading)
    writer.writerows([[harmless(str(cell), keep="") for cell in row] for row in table.rows])
    write_atomically(path, text.getvalue().encode("utf-8", "backslashreplace"))  # a file's name may be no valid text


def check_results_folder(folder: Path) -> None:
    """Raise UserError where evaluations cannot be written, and among a training run's files."""
    require_folder(folder)
    if (folder / CONFIG).exists():
        raise UserError(f"{folder} is a training run's folder; give another one for the results, such as {folder}/eval")
