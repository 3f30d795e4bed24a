"""A whole classification run: from a configuration to a folder with checkpoints, log, pictures and report."""

import signal
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from gcvit import distributed
from gcvit.data.images import ImageError
from gcvit.engine.checkpoint import load_checkpoint, newest_checkpoint, read_meta
from gcvit.engine.config import as_dict, save_config
from gcvit.engine.device import resolve_device
from gcvit.engine.folder import CONFIG, Resume, RunFolder, check_folder, open_run
from gcvit.engine.log import RunLog
from gcvit.engine.loop import Plan, fit, seed_everything
from gcvit.engine.results import Results
from gcvit.engine.saving import Saver, versions
from gcvit.engine.state import State
from gcvit.engine.stopping import Stopped, StopRequest
from gcvit.factory import open_model
from gcvit.tasks.classify.build import build_model, input_size, layers, settled
from gcvit.tasks.classify.config import FREE, ClassifyConfig
from gcvit.tasks.classify.data import Images, draw_built_in, open_images
from gcvit.tasks.classify.evaluate import Evaluation, evaluate
from gcvit.tasks.classify.outputs import Outputs, save_curves, save_outputs
from gcvit.tasks.classify.plan import check_record, make_plan, make_task, record_of


@dataclass(frozen=True)
class TrainResult:
    """What a run reached, measured once more on the checkpoint in `best`, read back from the disk.

    evaluation: of the held-out images, by class name in `classes`; divided: they are a share of the training folder.
    best_epoch: from 1.
    seconds: of training and its evaluations since the run was started or went on. images_per_second: of training
    alone, on all processes; None when there was nothing left to train.
    """

    model: str
    classes: list[str]
    divided: bool
    evaluation: Evaluation
    best_epoch: int
    seconds: float
    images_per_second: float | None
    out: Path
    best: Path
    last: Path
    outputs: Outputs


def train(
    config: ClassifyConfig, out: str | Path | None = None, *, name: str = "classify", resume: Resume = "auto"
) -> TrainResult:
    """Train a classifier into a folder: `out`, or for None the next of gcvit-runs/NAME-001, -002, ….

    The folder then holds train.json (the configuration, which `load_config` reads), log.jsonl, checkpoints/, best/ and
    last/ (hub folders with labels and preprocessing), pictures and report.html.

    resume: `auto` goes on with the unfinished run in the folder, exactly as if it had never stopped; `never` refuses.

    Among several processes (torchrun) every one of them must call this; all must see the folder and the images.

    Raises ValueError for data, weights or settings that do not fit, before anything is written (for images that are not
    those of the run that goes on: before anything of it is changed); for an image that cannot be read and for a loss
    that is no longer a number, when it happens; OSError for a full disk; and Stopped (KeyboardInterrupt for Ctrl-C)
    after a signal, when all that is needed to go on is saved.
    """
    with distributed.process_group():
        config = settled(config)
        device = resolve_device(config.device)
        if device.index is not None:
            torch.cuda.set_device(device)
        if distributed.restarted():  # by torchrun, with the same words as at first
            resume = "auto"
        if out is not None and distributed.is_main():
            check_folder(out, as_dict(config), resume=resume, free=FREE)
        images = open_images(config, input_size(config))
        seed_everything(config.seed)
        model, preprocessing, notes = build_model(config, images.classes)
        plan = make_plan(config, len(images.train), device)
        record = record_of(config, images, plan)

        run = _open(config, out, name, resume)
        log = RunLog(run.path / "log.jsonl", epochs=plan.epochs, steps=plan.steps, tensorboard=config.tensorboard)
        with log, StopRequest() as stop:
            _introduce(log, config, model, images, plan, notes, run.path)
            for dataset in (images.train, images.held_out):
                draw_built_in(dataset, partial(log.track, "drawing the built-in scenes", len(dataset)))
            task = make_task(config, images, preprocessing, plan, run.path)
            state = State(model.to(device), config.optim, layers(model))
            if config.compile:
                model.compile()
            results = Results(run.path)
            saver = Saver(
                run.path / "checkpoints", record, minutes=config.checkpoint_minutes, keep=config.keep_checkpoints
            )
            if run.goes_on:
                _go_on(state, results, saver, log, plan)
            distributed.on_main(lambda: save_config(config, run.path / CONFIG))  # with what has changed and may
            start = time.perf_counter()
            with closing(task):
                try:
                    fit(state, task, plan, log, results, saver, stop)
                    seconds = time.perf_counter() - start
                    distributed.wait()  # for rank 0 to have written best/
                    best = open_model(results.best).model.fold().to(device)
                    evaluation = evaluate(best, task.held_out, device=device, precision=plan.precision)
                except (KeyboardInterrupt, Stopped, ValueError, RuntimeError, OSError) as end:
                    with suppress(OSError, ValueError):  # why the run ended matters more than its curves
                        save_curves(run.path, config)
                    if explained := _explained(end, config, run.path):
                        raise explained from end
                    raise
            outputs = save_outputs(run.path, config, images, evaluation)
            log.event("end", seconds=round(seconds, 1), top1=evaluation.accuracy.top1, best_epoch=results.best_epoch)
    return TrainResult(
        model=config.model,
        classes=images.classes,
        divided=images.divided,
        evaluation=evaluation,
        best_epoch=results.best_epoch,
        seconds=seconds,
        images_per_second=log.images / log.seconds if log.seconds else None,
        out=run.path,
        best=results.best,
        last=results.last,
        outputs=outputs,
    )


def _open(config: ClassifyConfig, out: str | Path | None, name: str, resume: Resume) -> RunFolder:
    """Rank 0 finds the folder, holds its lock and writes a new run's configuration; the others are told."""
    held: list[RunFolder] = []  # the lock stays with rank 0

    def open_here() -> tuple[Path, bool]:
        run = open_run(out, name, as_dict(config), resume=resume, free=FREE)
        if not run.goes_on:
            save_config(config, run.path / CONFIG)
        held.append(run)
        return run.path, run.goes_on

    found = distributed.on_main(open_here)
    return held[0] if held else RunFolder(*found)


def _go_on(state: State, results: Results, saver: Saver, log: RunLog, plan: Plan) -> None:
    """Put the state back to the newest whole checkpoint; where none was saved yet the run begins again."""
    path = distributed.on_main(lambda: newest_checkpoint(saver.folder, log.say))
    if path is not None:
        for note in check_record(read_meta(path), saver.record, path):
            log.say(note)
        load_checkpoint(path, state)
    results.last_epoch = min(results.last_epoch, state.step // plan.steps_per_epoch)  # later ones are made again
    log.event("resume", step=state.step, evaluated=results.last_epoch, processes=plan.share.ranks)
    log.say(f"going on from step {state.step} of {plan.steps}" if path else "no checkpoint yet: starting again")


def _explained(end: BaseException, config: ClassifyConfig, folder: Path) -> BaseException | None:
    """What the run ends with, in words that say what to do; None for what says so itself."""
    again = "the same command goes on from there"
    if isinstance(end, Stopped) and end.signal == signal.SIGINT:
        return KeyboardInterrupt(f"{folder}: {end}; {again}.")
    if isinstance(end, Stopped):
        return Stopped(f"{folder}: {end}; {again}.", end.signal)
    if isinstance(end, KeyboardInterrupt):
        return KeyboardInterrupt(f"{folder} holds what was saved before; the same command goes on from it.")
    if isinstance(end, ImageError):
        return ValueError(f"{end}. `gcvit doctor data` finds all such images, --bad-images skip trains without them")
    if isinstance(end, RuntimeError) and "DataLoader worker" in str(end):
        return ValueError(
            f"a process that loads images has died ({end}): perhaps the machine ran out of memory. Lower workers "
            f"({config.workers}); the same command goes on from the last checkpoint in {folder}"
        )
    return None


def _introduce(
    log: RunLog, config: ClassifyConfig, model: nn.Module, images: Images, plan: Plan, notes: list[str], folder: Path
) -> None:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    training, held_out = len(images.train), len(images.held_out)
    height, width = input_size(config)
    share = plan.share
    log.event(
        "start",
        versions=versions(),
        device=str(plan.device),
        precision=plan.precision,
        processes=share.ranks,
        parameters=parameters,
        training_images=training,
        held_out_images=held_out,
        classes=images.classes,
        steps=plan.steps,
    )
    for note in [*notes, plan.optim.describe_lr(share.batch_size)]:
        log.say(note)
    where = f"{share.ranks} × {plan.device.type}" if share.ranks > 1 else str(plan.device)
    log.say(
        f"{config.model}, {parameters / 1e6:.2f} M parameters with a head for {len(images.classes)} classes, "
        f"{height}×{width} px; on {where} in {plan.precision}"
    )
    log.say(
        f"{config.data or 'built-in shapes'}: {training:,} training and {held_out:,} held-out images of "
        f"{len(images.classes)} classes; epochs × steps × images: {plan.epochs} × {plan.steps_per_epoch} × "
        f"{share.batch_size}"
    )
    log.say(f"results go to {folder}")
