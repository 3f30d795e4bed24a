"""A whole segmentation run: from a configuration to a folder with checkpoints, log, pictures and report."""

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
from gcvit.model.compiling import compile_blocks
from gcvit.tasks.segment.build import build_segmenter, layers
from gcvit.tasks.segment.config import FREE, SegmentConfig
from gcvit.tasks.segment.data import Scenes, open_scenes, training_loader
from gcvit.tasks.segment.evaluate import Evaluation, Evaluator
from gcvit.tasks.segment.outputs import Outputs, save_curves, save_outputs
from gcvit.tasks.segment.plan import make_plan
from gcvit.tasks.segment.saving import ScenePreprocessing, open_segmenter
from gcvit.tasks.segment.task import SegmentTask

BAD_IMAGE = "`gcvit doctor segment` finds all such pictures and label maps"


@dataclass(frozen=True)
class TrainResult:
    """What a run reached, measured once more on the checkpoint in `best`, read back from the disk.

    evaluation: of the held-out scenes; scenes: those, their classes and colours. best_step: of the best evaluation.
    seconds: of training and its evaluations since the run was started or went on. images_per_second: of training
    alone, on all processes; None when there was nothing left to train.
    """

    model: str
    scenes: Scenes
    evaluation: Evaluation
    best_step: int
    seconds: float
    images_per_second: float | None
    out: Path
    best: Path
    last: Path
    outputs: Outputs


def train(
    config: SegmentConfig, out: str | Path | None = None, *, name: str = "segment", resume: Resume = "auto"
) -> TrainResult:
    """Train UPerNet on a GC ViT into a folder: `out`, or for None the next of gcvit-runs/NAME-001, -002, ….

    What is in the folder then, how a run goes on, what is raised and when, and how several processes share the work:
    all as in `gcvit.tasks.classify.train`. best/ and last/ are folders that `open_segmenter` reads.
    """
    with distributed.process_group():
        device = claim_device(config)
        resume = check_out(config, out, resume=resume, free=FREE)
        scenes = open_scenes(config)
        seed_everything(config.seed)
        plan = make_plan(config, device)
        model, notes = build_segmenter(config, scenes.classes)
        preprocessing = ScenePreprocessing(resize=config.resize, crop=config.augment.crop)
        record = record_of(config, map(scenes.train.name, range(len(scenes.train))), plan)

        with Run(config, plan, record, out, name, resume=resume, free=FREE) as run:
            _introduce(run, config, model, scenes, notes)
            for dataset in (scenes.train, scenes.held_out):
                draw_built_in(dataset, partial(run.log.track, "drawing the built-in scenes", len(dataset)))
            task = SegmentTask(
                training_loader(scenes.train, config, preprocessing, plan),
                Evaluator(scenes.held_out, preprocessing, mode=config.eval_mode, workers=config.workers),
                scenes,
                preprocessing,
                plan,
                config.head.aux_weight,
            )
            with closing(task), run.explaining(partial(save_curves, run.path, config), BAD_IMAGE):
                if config.compile:
                    compile_blocks(model)
                run.train(model, layers(model), task)
                evaluation = task.measure(open_segmenter(run.results.best).model.to(device))
            outputs = save_outputs(run.path, config, scenes, evaluation)
            run.finish(miou=evaluation.counts.miou)
    return TrainResult(
        model=config.model,
        scenes=scenes,
        evaluation=evaluation,
        best_step=min(run.results.best_epoch * plan.steps_per_epoch, plan.steps),
        seconds=run.seconds,
        images_per_second=run.images_per_second,
        out=run.path,
        best=run.results.best,
        last=run.results.last,
        outputs=outputs,
    )


def _introduce(run: Run, config: SegmentConfig, model: nn.Module, scenes: Scenes, notes: Sequence[str]) -> None:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    training, held_out, classes = len(scenes.train), len(scenes.held_out), len(scenes.classes)
    height, width = config.augment.crop
    run.introduce(
        [
            *notes,
            f"UPerNet on {config.model}, {parameters / 1e6:.2f} M parameters with heads for {classes} classes, crops "
            f"of {height}×{width} px",
            f"{config.data or 'built-in scenes'}: {training:,} training and {held_out:,} held-out scenes of {classes} "
            f"classes; {run.plan.steps:,} steps of {run.plan.share.batch_size}",
        ],
        parameters=parameters,
        training_images=training,
        held_out_images=held_out,
        classes=scenes.classes,
    )
