"""A whole classification run: from a configuration to a folder with checkpoints, log, pictures and report."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from gcvit import distributed
from gcvit.data.shapes import draw_built_in
from gcvit.engine.folder import Resume
from gcvit.engine.loop import seed_everything
from gcvit.engine.record import record_of
from gcvit.engine.run import Run, check_out, claim_device
from gcvit.factory import open_model
from gcvit.model.compiling import compile_blocks
from gcvit.tasks.classify.build import build_model, input_size, settled
from gcvit.tasks.classify.config import FREE, ClassifyConfig
from gcvit.tasks.classify.data import Images, open_images
from gcvit.tasks.classify.evaluate import Evaluation, evaluate
from gcvit.tasks.classify.outputs import Outputs, save_curves, save_outputs
from gcvit.tasks.classify.plan import make_plan, make_task
from gcvit.tasks.layers import layers

BAD_IMAGE = "`gcvit doctor data` finds all such images, --bad-images skip trains without them"


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
        device = claim_device(config)
        resume = check_out(config, out, resume=resume, free=FREE)
        images = open_images(config, input_size(config))
        seed_everything(config.seed)
        model, preprocessing, notes = build_model(config, images.classes)
        plan = make_plan(config, len(images.train), device)
        record = record_of(config, map(images.train.name, range(len(images.train))), plan)

        with Run(config, plan, record, out, name, resume=resume, free=FREE) as run:
            _introduce(run, config, model, images, notes)
            for dataset in (images.train, images.held_out):
                draw_built_in(dataset, partial(run.log.track, "drawing the built-in scenes", len(dataset)))
            task = make_task(config, images, preprocessing, plan, run.path)
            with closing(task), run.explaining(partial(save_curves, run.path, config), BAD_IMAGE):
                if config.compile:
                    compile_blocks(model)
                run.train(model, layers(model), task)
                best = open_model(run.results.best).model.fold().to(device)
                evaluation = evaluate(best, task.held_out, device=device, precision=plan.precision)
            outputs = save_outputs(run.path, config, images, evaluation)
            run.finish(top1=evaluation.accuracy.top1)
    return TrainResult(
        model=config.model,
        classes=images.classes,
        divided=images.divided,
        evaluation=evaluation,
        best_epoch=run.results.best_epoch,
        seconds=run.seconds,
        images_per_second=run.images_per_second,
        out=run.path,
        best=run.results.best,
        last=run.results.last,
        outputs=outputs,
    )


def _introduce(run: Run, config: ClassifyConfig, model: nn.Module, images: Images, notes: Sequence[str]) -> None:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    training, held_out, classes = len(images.train), len(images.held_out), len(images.classes)
    height, width = input_size(config)
    plan = run.plan
    run.introduce(
        [
            *notes,
            f"{config.model}, {parameters / 1e6:.2f} M parameters with a head for {classes} classes, "
            f"{height}×{width} px",
            f"{config.data or 'built-in shapes'}: {training:,} training and {held_out:,} held-out images of "
            f"{classes} classes; epochs × steps × images: {plan.epochs} × {plan.steps_per_epoch} × "
            f"{plan.share.batch_size}",
        ],
        parameters=parameters,
        training_images=training,
        held_out_images=held_out,
        classes=images.classes,
    )
