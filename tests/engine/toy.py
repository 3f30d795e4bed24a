"""A task small enough to check the engine's arithmetic by hand: regression with a linear model and dropout."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from gcvit.data.sampling import EpochSampler
from gcvit.engine.log import RunLog
from gcvit.engine.loop import Plan
from gcvit.engine.optim import OptimConfig

Batch = tuple[Tensor, Tensor]
IMAGES = 32


class ToyTask:
    """32 points; what goes wrong, and when, is chosen by setting `fail_at` (a count of losses) and `failure`."""

    score = "score"

    def __init__(self, batch_size: int = 8, fail_at: int | None = None, failure: BaseException | float = 0.0) -> None:
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(IMAGES, 5, generator=generator)
        self.targets = self.inputs @ torch.arange(5.0) + torch.randn(IMAGES, generator=generator)
        self.batch_size, self.fail_at, self.failure = batch_size, fail_at, failure
        self.losses = 0
        self.scores: Iterator[float] = iter(())
        self.saved: list[tuple[str, Mapping[str, str]]] = []

    def batches(self, epoch: int) -> Iterator[Batch]:
        order = torch.tensor([index for index, _ in EpochSampler(IMAGES, 0, epoch)])
        return ((self.inputs[chosen], self.targets[chosen]) for chosen in order.split(self.batch_size))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        self.losses += 1
        loss = (model(batch[0]).squeeze(1) - batch[1]).square().mean()
        if self.losses == self.fail_at:
            if isinstance(self.failure, BaseException):
                raise self.failure
            return loss * self.failure
        return loss

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            error = (model.eval()(self.inputs).squeeze(1) - self.targets).square().mean().item()
        return {"score": next(self.scores, -error), "loss": error}

    def save(self, model: nn.Module, folder: Path, metadata: Mapping[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        torch.save(model.state_dict(), folder / "weights.pt")
        self.saved.append((folder.name, metadata))


def toy_model(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))


def toy_plan(optim: OptimConfig | None = None, *, batch_size: int = 8, **changes: int) -> Plan:
    steps = IMAGES // (batch_size * changes.get("accumulate", 1))
    return Plan(
        **({"epochs": 3} | changes),
        steps_per_epoch=steps,
        batch_size=batch_size,
        optim=optim or OptimConfig(lr=0.05, warmup_epochs=1, ema_decay=0.9),
        device=torch.device("cpu"),
    )


def quiet_log(folder: Path, plan: Plan) -> RunLog:
    return RunLog(folder / "log.jsonl", epochs=plan.epochs, steps=plan.steps)
