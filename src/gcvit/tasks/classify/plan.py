"""From a configuration and its images to the numbers of a run and its task."""

from pathlib import Path

import torch

from gcvit import distributed
from gcvit.data.sampling import Share
from gcvit.engine.device import resolve_precision
from gcvit.engine.loop import Plan
from gcvit.tasks.classify.config import ClassifyConfig
from gcvit.tasks.classify.data import Images, training_loader
from gcvit.tasks.classify.held_out import evaluation_loader
from gcvit.tasks.classify.task import ClassifyTask, balanced_weights
from gcvit.weights.preprocessing import Preprocessing

QUARANTINE = "quarantine.jsonl"  # in a run's folder, when images are skipped


def make_plan(config: ClassifyConfig, images: int, device: torch.device) -> Plan:
    """The numbers of the run among the processes that there are.

    Raises ValueError when there are too few images for a single step, or when the batch cannot be divided.
    """
    share = Share(config.batch_size, config.accumulate, distributed.rank(), distributed.world_size())
    if images < config.batch_size:
        pairs = 2 * share.ranks  # mixup takes images in pairs
        fits, alone = images // (pairs * share.passes) * pairs * share.passes, max(images // pairs * pairs, 1)
        advice = f"lower batch_size to {fits}" if fits else f"set accumulate to 1 and batch_size to {alone}"
        raise ValueError(
            f"the {images} training images do not fill one step of {config.batch_size} (batch_size); {advice} or less"
        )
    if config.augment.mixes and share.micro_batch % 2:
        raise ValueError(
            f"mixup and cutmix take images in pairs, but batch_size {config.batch_size} gives {share.micro_batch} to "
            f"each of {share.ranks} processes × {share.passes} passes; make it a multiple of "
            f"{2 * share.passes * share.ranks}"
        )
    return Plan(
        epochs=config.epochs,
        steps_per_epoch=images // config.batch_size,
        share=share,
        optim=config.optim,
        device=device,
        precision=resolve_precision(config.precision, device),
        seed=config.seed,
        eval_every=config.eval_every,
    )


def make_task(
    config: ClassifyConfig, images: Images, preprocessing: Preprocessing, plan: Plan, folder: Path
) -> ClassifyTask:
    """The task with its two loaders; `folder` is the run's."""
    held_out = evaluation_loader(
        images.held_out,
        preprocessing,
        batch_size=plan.share.micro_batch,
        workers=config.workers,
        device=plan.device,
        bad_images=config.bad_images,
    )
    training = training_loader(images.train, config, preprocessing, plan.share, plan.device, folder / QUARANTINE)
    weights = None
    if config.class_weights == "balanced":
        labels = [images.train.label(index) for index in range(len(images.train))]
        weights = balanced_weights(labels, len(images.classes))
    return ClassifyTask(
        training,
        held_out,
        images.classes,
        preprocessing,
        config.augment,
        plan.device,
        plan.precision,
        weights,
    )
