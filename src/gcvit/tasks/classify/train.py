"""A whole classification run: from a configuration to a folder with checkpoints, log and pictures."""

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from gcvit.engine.checkpoint import Checkpoints
from gcvit.engine.config import save_config
from gcvit.engine.device import resolve_device, resolve_precision
from gcvit.engine.figures import draw_curves, save_figure
from gcvit.engine.folder import check_folder, claim_folder
from gcvit.engine.log import RunLog, read_log
from gcvit.engine.loop import Plan, State, fit, seed_everything
from gcvit.factory import open_model
from gcvit.model import GCViT
from gcvit.tasks.classify.build import build_model, input_size
from gcvit.tasks.classify.config import ClassifyConfig
from gcvit.tasks.classify.data import Images, draw_built_in, evaluation_loader, open_images, training_loader
from gcvit.tasks.classify.evaluate import Evaluation, evaluate
from gcvit.tasks.classify.pictures import draw_predictions
from gcvit.tasks.classify.task import ClassifyTask
from gcvit.weights.preprocessing import Preprocessing

SCORES = {"top1": "top-1", "top5": "top-5"}


@dataclass(frozen=True)
class TrainResult:
    """What a run reached, measured once more on the checkpoint in `best`, read back from the disk.

    images: held-out images. top1, top5: shares of them, 0 … 1. per_class: top-1 share by class name.
    seconds: of training and its evaluations. images_per_second: of training alone.
    """

    model: str
    images: int
    top1: float
    top5: float
    loss: float
    per_class: dict[str, float]
    best_epoch: int
    seconds: float
    images_per_second: float
    out: Path
    best: Path
    last: Path
    curves: Path
    predictions: Path


def train(config: ClassifyConfig, out: str | Path | None = None, *, name: str = "classify") -> TrainResult:
    """Train a classifier into a new folder: `out`, or for None the next of gcvit-runs/NAME-001, -002, ….

    The folder then holds train.json (the configuration, which `load_config` reads), log.jsonl, best/ and
    last/ (hub folders with labels and preprocessing), curves.png and predictions.png.

    Raises ValueError for data, weights or settings that do not fit, before anything is written; for an image
    that cannot be read and for a loss that is no longer a number, when it happens. Then, and when stopped by
    Ctrl-C (KeyboardInterrupt), best/ and last/ are those of the epochs before.
    """
    device = resolve_device(config.device)
    if out is not None:
        check_folder(out)
    images = open_images(config, input_size(config))
    seed_everything(config.seed)
    model, preprocessing, notes = build_model(config, images.classes)
    plan = make_plan(config, len(images.train), device)

    folder = claim_folder(out, name)
    save_config(config, folder / "train.json")
    with RunLog(folder / "log.jsonl", epochs=plan.epochs, steps=plan.steps) as log:
        _introduce(log, config, model, images, plan, notes, folder)
        for dataset in (images.train, images.held_out):
            draw_built_in(dataset, partial(log.track, "drawing the built-in scenes", len(dataset)))
        task = make_task(config, images, preprocessing, plan)
        model.to(device)
        state = State(model, config.optim)
        if config.compile:
            model.compile()
        checkpoints = Checkpoints(folder)
        start = time.perf_counter()
        try:
            fit(state, task, plan, log, checkpoints)
        except (KeyboardInterrupt, ValueError, RuntimeError, OSError) as stop:
            with suppress(OSError, ValueError):  # why the run ended matters more than its curves
                _save_curves(folder, config, checkpoints)
            if isinstance(stop, KeyboardInterrupt):
                raise KeyboardInterrupt(_kept(checkpoints)) from None
            log.say(_kept(checkpoints))
            raise
        seconds = time.perf_counter() - start
        curves = _save_curves(folder, config, checkpoints)
        best = open_model(checkpoints.best).model.fold().to(device)
        result = evaluate(best, task.held_out, device=device, precision=plan.precision)
        predictions = _save_predictions(folder, config, images, result)
        log.event("end", seconds=round(seconds, 1), top1=result.accuracy.top1, best_epoch=checkpoints.best_epoch)
    assert checkpoints.best_epoch is not None
    return TrainResult(
        model=config.model,
        images=result.accuracy.images,
        top1=result.accuracy.top1,
        top5=result.accuracy.top5,
        loss=result.loss,
        per_class={
            name: share
            for name, share in zip(images.classes, result.accuracy.per_class, strict=True)
            if share is not None
        },
        best_epoch=checkpoints.best_epoch,
        seconds=seconds,
        images_per_second=log.images / log.seconds,
        out=folder,
        best=checkpoints.best,
        last=checkpoints.last,
        curves=curves,
        predictions=predictions,
    )


def make_plan(config: ClassifyConfig, images: int, device: torch.device) -> Plan:
    """The numbers of the run. Raises ValueError when there are too few images for a single step."""
    per_step = config.batch_size * config.accumulate
    if images < per_step:
        fits, alone = images // config.accumulate // 2 * 2, max(images // 2 * 2, 1)  # even, for mixup's pairs
        advice = f"lower batch_size to {fits}" if fits else f"set accumulate to 1 and batch_size to {alone}"
        raise ValueError(
            f"the {images} training images do not fill one step of {per_step} (batch_size × accumulate); "
            f"{advice} or less"
        )
    return Plan(
        epochs=config.epochs,
        steps_per_epoch=images // per_step,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
        optim=config.optim,
        device=device,
        precision=resolve_precision(config.precision, device),
        seed=config.seed,
        eval_every=config.eval_every,
    )


def make_task(config: ClassifyConfig, images: Images, preprocessing: Preprocessing, plan: Plan) -> ClassifyTask:
    """The task with its two loaders."""
    batches = plan.steps_per_epoch * plan.accumulate
    held_out = evaluation_loader(
        images.held_out,
        preprocessing,
        batch_size=config.batch_size,
        workers=config.workers,
        device=plan.device,
    )
    training = training_loader(images.train, config, preprocessing, batches=batches, device=plan.device)
    return ClassifyTask(training, held_out, images.classes, preprocessing, config.augment, plan.device, plan.precision)


def _introduce(
    log: RunLog,
    config: ClassifyConfig,
    model: GCViT,
    images: Images,
    plan: Plan,
    notes: list[str],
    folder: Path,
) -> None:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    training, held_out = len(images.train), len(images.held_out)
    height, width = model.config.img_size
    log.event(
        "start",
        gcvit=_version(),
        torch=torch.__version__,
        device=str(plan.device),
        precision=plan.precision,
        parameters=parameters,
        training_images=training,
        held_out_images=held_out,
        classes=images.classes,
        steps=plan.steps,
    )
    for note in notes:
        log.say(note)
    log.say(
        f"{config.model}, {parameters / 1e6:.2f} M parameters, {height}×{width} px; "
        f"on {plan.device} in {plan.precision}"
    )
    log.say(
        f"{config.data or 'built-in shapes'}: {training:,} training and {held_out:,} held-out images of "
        f"{len(images.classes)} classes; {plan.epochs} epochs of {plan.steps_per_epoch} steps"
    )
    log.say(f"results go to {folder}")


def _version() -> str:
    try:
        return version("gcvit")
    except PackageNotFoundError:
        return "not installed"


def _kept(checkpoints: Checkpoints) -> str:
    if checkpoints.best_epoch is None:
        return f"No epoch was finished, so there is no checkpoint in {checkpoints.best.parent}."
    best, last = checkpoints.best, checkpoints.last
    return f"{best} (epoch {checkpoints.best_epoch}) and {last} hold the epochs before."


def _save_curves(folder: Path, config: ClassifyConfig, checkpoints: Checkpoints) -> Path:
    path = folder / "curves.png"
    if checkpoints.best_epoch is not None:
        title = f"{config.model} on {Path(config.data).name if config.data else 'the built-in shapes'}"
        save_figure(draw_curves(read_log(folder / "log.jsonl"), scores=SCORES, title=title), path)
    return path


def _save_predictions(folder: Path, config: ClassifyConfig, images: Images, result: Evaluation) -> Path:
    path = folder / "predictions.png"
    title = f"{config.model}: {result.accuracy.top1:.1%} of {result.accuracy.images:,} held-out images right"
    figure = draw_predictions(
        images.held_out, images.classes, result.labels, result.predicted, result.confidence, title=title
    )
    save_figure(figure, path)
    return path
