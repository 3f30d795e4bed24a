"""One of two processes that train a detector together.

In each of two steps one of them has a picture without objects. Writes the gradients of both forms.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.distributed import destroy_process_group, get_rank, init_process_group
from torch.nn.parallel import DistributedDataParallel

from gcvit.tasks.detect.settings import Kind
from tasks.detect.building import detector, pictures, random_objects

SIZE = (64, 96)


def train(kind: Kind) -> dict[str, Tensor | None]:
    # Unused parameters are not looked for: one without a gradient would be an error in the next step.
    model = DistributedDataParallel(detector(head=kind).train())
    for step in range(2):
        number = 3 if step == get_rank() else 0
        losses = model(pictures(SIZE, seed=step), [random_objects(number, SIZE, step)])
        sum(losses.values()).backward()
    return {f"{kind} {name}": parameter.grad for name, parameter in model.module.named_parameters()}


def run(out: Path) -> None:
    init_process_group("gloo")
    torch.save(train("mask-rcnn") | train("cascade"), out / f"{get_rank()}.pt")
    destroy_process_group()
