"""`gcvit eval MODEL…`: measures models on held-out images, one in detail or several side by side."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional

from gcvit.cli.arguments import ReadsPictures, checked, given, leading, parse, refuse_other_tasks, whole, with_parts
from gcvit.cli.output import complain, counter, facts, next_steps, say, table, worst
from gcvit.engine.fields import Range
from gcvit.engine.settings import Precision
from gcvit.errors import UserError
from gcvit.files import write_json
from gcvit.model.config import sides
from gcvit.tasks.config import BadImages, Share
from gcvit.weights.resolve import resolve
from gcvit.wording import by, listed

if TYPE_CHECKING:
    from gcvit.tasks.evaluate import Measured
    from gcvit.tasks.opened import Opened
    from gcvit.tasks.runs import RunRecord
    from gcvit.tasks.task import Task

CONFUSED = 5  # pairs of classes shown


@dataclass(frozen=True)
class Evaluate(ReadsPictures):
    """Measure models: their score, the worst classes, what is taken for what, and the speed.

    A run's folder brings its own data and settings, how it evaluated too; flags change them. Several models or sizes
    come side by side in one table. Among several processes the images are shared out: torchrun --nproc-per-node 2 -m
    gcvit eval …
    """

    model: Positional[tuple[str, ...]]
    """runs' folders (their best weights), models' folders, checkpoint files, exported files or models' names"""
    data: str | None = None
    """what to measure on; none: a run's own data, wherever they were, or built-in images"""
    val_fraction: Annotated[Share, Range(0, 1, but=(0, 1), said="above 0, below 1")] = "own"
    """of data without a validation part, measure the share that training with this val_fraction and --seed held out;
    own: of a run's own data what it held out, of other data all images; none: all images"""
    seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    """training's seed, which chose what it held out"""
    images: Annotated[int, Range(1, 10**9)] = 1000
    """number of built-in images"""
    size: tuple[str, ...] = ()
    """sides of the model's input in pixels, or HEIGHTxWIDTH, a row for each; none: the model's own"""
    bad_images: BadImages = "error"
    """skip: leave out and list images that cannot be read; error: stop at the first"""
    out: Path | None = None
    """folder for metrics.json, per-class and per-image CSV files, charts and report.html"""
    batch_size: Annotated[int | None, Range(1, 65_536)] = None
    """images computed at once; none: what suits the task"""
    workers: Annotated[int, Range(0, 1_024)] = 0
    """processes that load images; 0: this one"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:1"""
    precision: Precision = "auto"
    """auto: bf16 on a GPU that has it, fp32 elsewhere"""
    trust_code: bool = False
    """run the code in a .pt2 or .aot.pt2 file: only if you trust whoever made it"""
    json: bool = False
    """print one JSON object a line, for each row, instead of a table"""


def run(argv: Sequence[str]) -> None:
    """Evaluate and show; of several processes the first one speaks."""
    read = checked(Evaluate, "eval", argv, "reading", "looks")
    models = leading(argv) if read is None else list(read.model)
    if not models:
        raise UserError("name at least one model: gcvit eval gcvit-runs/quickstart-001")
    sources = [resolve(model) for model in models]
    from gcvit.distributed import is_main, process_group
    from gcvit.opening import open as open_model

    opened = [open_model(source, trust_code="--trust-code" in argv) for source in sources]
    task = _one_task(opened)
    refuse_other_tasks(task, argv, "reading", "looks")
    runs = [_run_of(source, task, argv) for source in models]
    first = next(filter(None, runs), None)
    config: Any = task.config() if first is None else first.config
    reading = getattr(config, "reading", task.reading())
    kind = with_parts(Evaluate, reading=reading, looks=task.looks() if first is None else task.training_looks(config))
    start = kind(
        model=tuple(models),
        data=config.data,
        seed=config.seed,
        images=config.val_images,
        bad_images=config.bad_images,
        precision=config.precision,
    )
    arguments = parse(kind, "eval", argv, default=start)
    sizes = _check(arguments, task)
    if first and arguments.data and arguments.data == first.config.data and not os.path.exists(arguments.data):
        raise UserError(f"{arguments.data}, the data of {first.folder}, is not there; give its new place as --data")
    changes: dict[str, Any] = {"data": arguments.data, "seed": arguments.seed, "val_images": arguments.images}
    if hasattr(config, "reading"):
        changes["reading"] = whole(task.reading, arguments.reading)
    config = replace(config, **changes)
    trust = ["--trust-code"] if arguments.trust_code else []  # what the next command needs for the same file
    with process_group():
        results = _measure(arguments, task, opened, config, runs, sizes)
        if is_main():
            if arguments.out is not None:
                _write(arguments.out, results, trust)
            if arguments.json:
                for result in results:
                    say(json.dumps(result.to_dict()))
            else:
                _show(results, arguments.out, trust)


def _run_of(source: str, task: Task, argv: Sequence[str]) -> RunRecord | None:
    """The run of a model. What cannot be read of it is only told where the data are named, and else refused."""
    from gcvit.tasks.runs import run_of

    try:
        return run_of(source, task)
    except UserError as error:
        if given("--data", argv) is None:
            raise UserError(f"{error}; to measure the model all the same, give --data PATH") from error
        complain(f"{error}; the run's settings, and what it was trained on, are not known")
        return None


def _one_task(opened: Sequence[Opened]) -> Task:
    task = opened[0].task
    for other in opened[1:]:
        if other.task is not task:
            raise UserError(
                f"{opened[0].source} is for the task {task.name} and {other.source} for {other.task.name}; "
                "measure them one by one"
            )
    return task


def _check(arguments: Any, task: Task) -> list[Any]:
    """The sizes. Raises UserError for what can be seen to be wrong before any data are opened."""
    from gcvit.engine.device import resolve_device
    from gcvit.tasks.results import check_results_folder

    resolve_device(arguments.device)
    if arguments.out is not None:
        check_results_folder(arguments.out)
    sizes = [sides(size) for size in arguments.size]
    if sizes and not task.sized:
        raise UserError(f"--size: a model for the task {task.name} sees pictures at their own size; leave it out")
    return sizes


def _measure(
    arguments: Any,
    task: Task,
    opened: Sequence[Opened],
    config: Any,
    runs: Sequence[RunRecord | None],
    sizes: Sequence[Any],
) -> list[Measured]:
    from gcvit.distributed import is_main
    from gcvit.tasks.evaluate import evaluate
    from gcvit.tasks.runs import hold_out

    looks: Any = whole(task.looks, arguments.looks)
    at = [(*model, size) for model in zip(arguments.model, opened, runs, strict=True) for size in sizes or [None]]
    shown = [model if size is None else model.resized(size) for _, model, _, size in at]
    # What is wrong with the last one is said before the first has taken an hour.
    held_out = hold_out(shown, config, [run for _, _, run, _ in at], arguments.val_fraction)
    results = []
    for (name, _, _, size), model, pictures in zip(at, shown, held_out, strict=True):
        at_size = "" if size is None else f" at {by(size)} px"
        with counter(f"evaluating {name}{at_size}", quiet=not is_main()) as progress:
            measured = evaluate(
                model,
                pictures,
                looks=looks,
                batch_size=arguments.batch_size,
                workers=arguments.workers,
                bad_images=arguments.bad_images,
                device=arguments.device,
                precision=arguments.precision,
                progress=progress,
            )
        results.append(replace(measured, source=name))
    return results


def _write(out: Path, results: Sequence[Measured], flags: Sequence[str]) -> None:
    """One result's files into `out`; those of several into numbered folders below it, their figures beside them."""
    from gcvit.tasks.results import write_evaluation

    if len(results) == 1:
        write_evaluation(out, results[0], flags=flags)
        return
    for number, result in enumerate(results, start=1):
        size = f"-{by(result.size)}".replace("×", "x") if result.size else ""
        write_evaluation(out / f"{number:02}-{result.opened.name}{size}", result, flags=flags)
    write_json(out / "metrics.json", [result.to_dict() for result in results])


def _show(results: Sequence[Measured], out: Path | None, trust: Sequence[str]) -> None:
    evaluation = results[0].evaluation
    if evaluation.unreadable:
        complain("left out " + listed(evaluation.unreadable, 10, lambda item: f"{item.file}: {item.reason}"))
    if evaluation.caution:
        complain(evaluation.caution)
    if len(results) == 1:
        _describe(results[0])
    else:
        _compare(results)
    if out is not None:
        say(f"\nresults: {out}")
    score = results[0].opened.task.score
    best = max(results, key=lambda result: result.evaluation.metrics[score] or 0.0).source
    next_steps(["gcvit", "predict", Path(best), "photo.jpg", *trust], ["gcvit", "info", Path(best)])


def _describe(measured: Measured) -> None:
    result = measured.evaluation
    left_out = [("left out", f"{len(result.unreadable):,} that could not be read")] if result.unreadable else []
    facts(
        [
            ("model", measured.title),
            ("data", f"{result.measured:,} images of {measured.described}"),
            *left_out,
            *((number.name, f"{number.value}, {number.meaning}") for number in result.numbers()),
        ]
    )
    worst(result.per_class())
    confused = result.confused(CONFUSED)
    if confused.rows:
        table(confused.headings, confused.rows)


def _compare(results: Sequence[Measured]) -> None:
    first = results[0]
    say(f"{first.evaluation.measured:,} images of {first.described}")
    if len({result.title.partition(", ")[2] for result in results}) == 1 and "," in first.title:
        say(first.title.partition(", ")[2])
    names = [number.name for number in first.evaluation.numbers()]
    sized = any(result.size for result in results)
    rows = [
        [
            result.source,
            "–" if result.opened.exported else f"{result.opened.parameters / 1e6:.1f}",
            *([by(result.size)] if sized and result.size else []),
            *(number.value for number in result.evaluation.numbers()),
        ]
        for result in results
    ]
    table(["model", ">M params", *([">size"] if sized else []), *(f">{name}" for name in names)], rows)
