"""A whole run of training: from a configuration to a folder with checkpoints, log, pictures and report."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from gcvit import distributed
from gcvit.data.loading import EpochLoader, to_device
from gcvit.data.quarantine import Quarantine
from gcvit.data.sampling import Alike, Share
from gcvit.data.shapes import draw_built_in
from gcvit.engine.device import claim_device, resolve_precision, threads_for
from gcvit.engine.folder import Resume
from gcvit.engine.loop import Plan, seed_everything
from gcvit.engine.objective import Loss
from gcvit.engine.record import record_of
from gcvit.engine.run import Run, check_out
from gcvit.engine.state import check_parts
from gcvit.errors import UserError
from gcvit.model.compiling import compile_blocks
from gcvit.shell import typed
from gcvit.tasks.backbone import backbone_of, layers, prepare_to_train, starting_weights
from gcvit.tasks.config import RunConfig
from gcvit.tasks.evaluate import Evaluator
from gcvit.tasks.evaluation import Evaluation
from gcvit.tasks.opened import Opened
from gcvit.tasks.results import save_curves, save_outputs
from gcvit.tasks.task import Data, HeldOut, Pictures, Shaped, Task
from gcvit.weights.fetching import find
from gcvit.wording import plural

BAD_IMAGE = "`{doctor}` finds all such images, --bad-images skip trains without them"
QUARANTINE = "quarantine.jsonl"  # in a run's folder, when images are skipped


@dataclass(frozen=True)
class TrainResult:
    """What a run reached, measured once more on the checkpoint in `best`, read back from the disk.

    data: what was trained on and held out. best_at: the best evaluation's epoch, from 1, or its step in a run that is
    counted in steps. seconds: of training and its evaluations since the run was started or went on.
    images_per_second: of training alone, on all processes; None when there was nothing left to train.
    outputs: report and pictures, by what they are. skipped: images that could not be read and were left out.
    """

    task: Task
    config: RunConfig
    data: Data
    evaluation: Evaluation
    best_at: int
    seconds: float
    images_per_second: float | None
    out: Path
    best: Path
    last: Path
    outputs: dict[str, Path]
    skipped: int


def train(
    task: Task, config: RunConfig, out: str | Path | None = None, *, name: str | None = None, resume: Resume = "auto"
) -> TrainResult:
    """Train a model into a folder: `out`, or for None the next of gcvit-runs/NAME-001, -002, ….

    The folder then holds train.json (the configuration, which `load_config` reads), log.jsonl, checkpoints/, best/ and
    last/ (models that `gcvit.open` reads), pictures and report.html.

    config: the task's own dataclass. name: for None the task's. resume: `auto` goes on with the unfinished run in the
    folder, exactly as if it had never stopped, if its data lie where they did; `moved` also where they lie elsewhere
    now; `never` refuses.

    Among several processes (torchrun) every one of them must call this; all must see the folder and the images.

    Raises UserError for data, weights or settings that do not fit, before anything is written (for images that are not
    those of the run that goes on: before anything of it is changed); for an image that cannot be read and for a loss
    that is no longer a number, when it happens; OSError for a full disk; and Stopped (KeyboardInterrupt for Ctrl-C)
    after a signal, when all that is needed to go on is saved.
    """
    with distributed.process_group():
        device = claim_device(config.device)
        checkpoint = starting_weights(config)
        config = task.settled(config, checkpoint)
        resume = check_out(config, out, resume=resume)
        data = task.open_data(config)
        plan = make_plan(config, len(data.train), device)
        seed_everything(config.seed)
        opened, notes = task.build(config, data, plan, checkpoint)
        del checkpoint  # as large as the model, or larger
        notes += prepare_to_train(opened.model, config)
        check_parts(opened.model, config.optim)
        loss = task.loss(config, data, plan)
        record = record_of(config, map(data.train.name, range(len(data.train))), plan)

        with Run(config, plan, record, out, name or task.name, resume=resume) as run:
            _introduce(run, opened, data, notes)
            for pictures in (data.train, data.held_out):
                draw_built_in(pictures, partial(run.log.track, "drawing the built-in scenes", len(pictures)))
            objective = TrainingObjective(opened, config, data, loss, plan, run.path)
            bad_image = BAD_IMAGE.format(doctor=typed(["gcvit", "doctor", Path(config.data or "")]))
            with closing(objective), run.explaining(partial(save_curves, run.path, task, config), bad_image):
                if config.compile:
                    compile_blocks(opened.model)
                pixels = plan.share.micro_batch * prod(task.size(opened.preprocessing))
                with threads_for(opened.model, pixels, device):
                    run.train(opened.model, layers(opened.model), objective)
                evaluation = objective.measure(task.open(find(run.results.best)).model.to(device))
            outputs = save_outputs(run.path, task, config, data, evaluation)
            run.finish(**{task.score: evaluation.metrics[task.score]})
    return TrainResult(
        task=task,
        config=config,
        data=data,
        evaluation=evaluation,
        best_at=run.results.best_epoch if plan.length is None else plan.step_of(run.results.best_epoch),
        seconds=run.seconds,
        images_per_second=run.images_per_second,
        out=run.path,
        best=run.results.best,
        last=run.results.last,
        outputs=outputs,
        skipped=objective.skipped,
    )


def make_plan(config: RunConfig, images: int, device: torch.device) -> Plan:
    """The numbers of the run among the processes that there are.

    Raises UserError when there are too few images for a single step, or when the batch cannot be divided.
    """
    share = Share(config.batch_size, config.accumulate, distributed.rank(), distributed.world_size())
    if config.epochs is not None and images < config.batch_size:
        pairs = 2 * share.ranks  # some tasks take images in pairs
        fits, alone = images // (pairs * share.passes) * pairs * share.passes, max(images // pairs * pairs, 1)
        advice = f"lower batch_size to {fits}" if fits else f"set accumulate to 1 and batch_size to {alone}"
        raise UserError(
            f"the {images} training images do not fill one step of {config.batch_size} (batch_size); {advice} or less"
        )
    stretch = images // config.batch_size if config.steps is None else min(config.eval_every, config.steps)
    return Plan(
        epochs=config.epochs or -(-(config.steps or 1) // stretch),
        steps_per_epoch=stretch,
        length=config.steps,
        pass_steps=None if config.steps is None else images / config.batch_size,
        share=share,
        optim=config.optim,
        device=device,
        precision=resolve_precision(config.precision, device),
        seed=config.seed,
        eval_every=config.eval_every if config.steps is None else 1,
    )


class TrainingObjective:
    """A task as the engine sees it: see `gcvit.engine.objective.Objective`."""

    def __init__(self, opened: Opened, config: RunConfig, data: Data, loss: Loss, plan: Plan, folder: Path) -> None:
        self.opened, self.plan, self._loss, self.score = opened, plan, loss, opened.task.score
        varied = Varied(data.train, opened.task.vary(config, opened))
        updates = None if plan.length is None else plan.steps_per_epoch
        self.quarantine = Quarantine(folder / QUARANTINE, len(data.train), config.max_bad_images)
        self.loader = EpochLoader(
            varied,
            plan.share,
            seed=config.seed,
            workers=config.workers,
            device=plan.device,
            updates=updates,
            alike=_alike(opened.task, config, data.train),
            collate=opened.task.collate,
            quarantine=self.quarantine if config.bad_images == "skip" else None,
        )
        self.evaluator = Evaluator(
            opened,
            HeldOut(data.held_out, data.name, None),
            opened.task.training_looks(config),
            batch_size=min(opened.task.at_once, plan.share.micro_batch),
            workers=config.workers,
            bad_images=config.bad_images,
        )

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """What the task's `vary` makes of this process's images, on the device."""
        return (to_device(batch, self.plan.device) for batch in self.loader.epoch(epoch, start))

    def samples(self, epoch: int, update: int) -> list[str]:
        """The images of one update, by name."""
        return [self.loader.dataset.name(index) for index in self.loader.sampler.update(epoch, update)]

    def loss(self, model: nn.Module, batch: Any) -> Mapping[str, torch.Tensor]:
        """The task's loss, in parts."""
        return self._loss(model, batch)

    def evaluate(self, model: nn.Module) -> Mapping[str, float | None]:
        """The metrics on the held-out images."""
        return self.measure(model).metrics

    def measure(self, model: nn.Module) -> Evaluation:
        """All that there is to know of a model on the held-out images."""
        folded = self.opened.task.fold(model)
        return self.evaluator(folded, device=self.plan.device, precision=self.plan.precision)

    def save(self, model: nn.Module, folder: Path, metadata: Mapping[str, str]) -> None:
        """Write a folder that `gcvit.open` reads."""
        self.opened.task.save(self.opened, model, folder, metadata)

    def close(self) -> None:
        """End the processes that load images."""
        self.loader.close()
        self.evaluator.close()

    @property
    def skipped(self) -> int:
        """Images that could not be read and were left out, by all processes."""
        return self.quarantine.count()


def _alike(task: Task, config: RunConfig, pictures: Pictures) -> Alike | None:
    """Which training pictures go together, where the task wants it and their shapes are known."""
    count = task.alike(config)
    if count is None or not isinstance(pictures, Shaped):
        return None
    return Alike.by_orientation(map(pictures.aspect, range(len(pictures))), count)


class Varied(Dataset):
    """Pictures with their targets, varied at random as training sees them."""

    def __init__(self, pictures: Any, vary: Any) -> None:
        self.pictures, self.vary = pictures, vary

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Any:
        return self.vary(*self.pictures[index])

    def name(self, index: int) -> str:
        """What a person calls the picture."""
        return self.pictures.name(index)


def _introduce(run: Run, opened: Opened, data: Data, notes: Sequence[str]) -> None:
    plan, parameters = run.plan, opened.parameters
    length = (
        f"epochs × steps × images: {plan.epochs} × {plan.steps_per_epoch} × {plan.share.batch_size}"
        if plan.length is None
        else f"{plan.steps:,} steps of {plan.share.batch_size}"
    )
    classes = plural(len(data.classes), "class", "es") if data.classes else ""
    shown = opened.task.shown(opened, opened.task.looks())
    design = "; ".join(backbone_of(opened.model).config.design)
    run.introduce(
        [
            *data.remarks,
            *notes,
            f"{shown}{design and f', {design}'}, {parameters / 1e6:.2f} M parameters{classes and f' for {classes}'}",
            f"{data.name}: {len(data.train):,} training and {len(data.held_out):,} held-out images"
            f"{classes and f' of {classes}'}; {length}",
        ],
        parameters=parameters,
        training_images=len(data.train),
        held_out_images=len(data.held_out),
        classes=data.classes,
    )
