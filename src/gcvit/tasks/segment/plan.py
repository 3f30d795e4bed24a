"""From a configuration to the numbers of a run, which is counted in steps."""

import torch

from gcvit import distributed
from gcvit.data.sampling import Share
from gcvit.engine.device import resolve_precision
from gcvit.engine.loop import Plan
from gcvit.tasks.segment.config import SegmentConfig


def make_plan(config: SegmentConfig, device: torch.device) -> Plan:
    """The numbers of the run among the processes that there are.

    Raises ValueError when the batch cannot be divided.
    """
    stretch = min(config.eval_every, config.steps)
    return Plan(
        epochs=-(-config.steps // stretch),
        steps_per_epoch=stretch,
        length=config.steps,
        share=Share(config.batch_size, config.accumulate, distributed.rank(), distributed.world_size()),
        optim=config.optim,
        device=device,
        precision=resolve_precision(config.precision, device),
        seed=config.seed,
    )
