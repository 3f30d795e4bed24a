"""An objective small enough to check the engine's arithmetic by hand: regression with a linear model and dropout."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gcvit.data.sampling import EpochSampler, Share
from gcvit.engine.checkpoint import Saver, load_checkpoint, newest_checkpoint
from gcvit.engine.log import RunLog
from gcvit.engine.loop import Plan, fit
from gcvit.engine.mending import Trained, mend
from gcvit.engine.results import Results, saved_in
from gcvit.engine.settings import OptimConfig
from gcvit.engine.state import State
from gcvit.engine.stopping import StopRequest
from gcvit.meta import last_results, read_meta

Batch = tuple[Tensor, Tensor]
IMAGES = 32


class ToyObjective:
    """32 points; what goes wrong, and when, is chosen by setting `fail_at` (a count of losses) and `failure`."""

    score = "score"

    def __init__(
        self, share: Share | None = None, fail_at: int | None = None, failure: BaseException | float = 0.0
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(IMAGES, 5, generator=generator)
        self.targets = self.inputs @ torch.arange(5.0) + torch.randn(IMAGES, generator=generator)
        self.sampler = EpochSampler(IMAGES, share or Share(8), seed=0)
        self.fail_at, self.failure = fail_at, failure
        self.losses = 0
        self.scores: Iterator[float] = iter(())
        self.saved: list[tuple[str, Mapping[str, str]]] = []

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        self.sampler.epoch, self.sampler.start = epoch, start
        order = torch.tensor([index for index, _ in self.sampler], dtype=torch.long)
        return ((self.inputs[part], self.targets[part]) for part in order.split(self.sampler.share.micro_batch))

    def samples(self, epoch: int, update: int) -> list[str]:
        return [f"point {index}" for index in self.sampler.update(epoch, update)]

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        self.losses += 1
        loss = (model(batch[0]).squeeze(1) - batch[1]).square().mean()
        if self.losses == self.fail_at:
            if isinstance(self.failure, BaseException):
                raise self.failure
            return {"error": loss * self.failure}
        return {"error": loss}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            error = (model.eval()(self.inputs).squeeze(1) - self.targets).square().mean().item()
        return {"score": next(self.scores, -error), "loss": error}

    def save(self, model: nn.Module, folder: Path, metadata: Mapping[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        save_file(model.state_dict(), folder / "model.safetensors", metadata=dict(metadata))
        self.saved.append((folder.name, metadata))


def toy_model(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))


def toy_plan(optim: OptimConfig | None = None, *, share: Share | None = None, **changes: int) -> Plan:
    share = share or Share(8)
    return Plan(
        **({"epochs": 3} | changes),
        steps_per_epoch=IMAGES // share.batch_size,
        share=share,
        optim=optim or OptimConfig(lr=0.05, warmup="1 epoch", ema_decay=0.9),
        device=torch.device("cpu"),
    )


def quiet_log(folder: Path, plan: Plan) -> RunLog:
    return RunLog(folder / "log.jsonl", epochs=plan.epochs, steps=plan.steps)


def toy_run(
    folder: Path, plan: Plan, task: ToyObjective | None = None, dropout: float = 0.0, minutes: float = 0.0
) -> tuple[State, Results]:
    """Train in `folder` from the newest checkpoint there, if there is one, and save after every step."""
    folder.mkdir(exist_ok=True)
    state, results = State(toy_model(dropout), plan.optim), Results(folder)
    saver = Saver(folder / "checkpoints", {"of": "a toy"}, minutes=minutes, keep=2)
    with quiet_log(folder, plan) as log:
        task = task or ToyObjective(plan.share)
        if path := newest_checkpoint(saver.folder, log.say):
            meta = read_meta(path)
            results.recall(meta["results"])
            later = last_results(saver.folder) or meta["results"]
            mend(results, Trained(state, task, plan, saver, meta["step"]), log.say, saved_in(later))
            load_checkpoint(path, state)
            log.event("resume", step=state.step, evaluated=results.last_epoch)
        fit(state, task, plan, log, results, saver, StopRequest())
        mend(results, Trained(state, task, plan, saver, plan.steps), log.say)
    return state, results
