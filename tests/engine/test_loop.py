"""The loop's laws: what a step computes, that a run is a function of its seed, and what survives a failure."""

import copy
import random
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from engine.toy import ToyObjective, toy_model, toy_plan
from engine.toy import toy_run as run
from gcvit.data.sampling import Share
from gcvit.engine.log import read_log
from gcvit.engine.loop import TrainingDiverged, train_step
from gcvit.engine.settings import OptimConfig
from gcvit.engine.state import State, create_optimizer
from gcvit.errors import UserError
from gcvit.meta import list_checkpoints
from gcvit.model import VARIANTS, GCViT


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_step_is_the_optimisers_step_on_the_clipped_gradient_of_the_mean_loss() -> None:
    plan = toy_plan(OptimConfig(lr=0.5, warmup="0 steps", min_lr=0, ema_decay=None, clip_grad=0.1))
    task, model = ToyObjective(), toy_model()
    state = State(model, plan.optim)
    state.optimizer = torch.optim.SGD(model.parameters(), lr=123.0)
    before = copy.deepcopy(model)
    batch = next(task.batches(0))

    (expected_loss,) = task.loss(before, batch).values()
    gradients = torch.autograd.grad(expected_loss, list(before.parameters()))
    length = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    parts, norm = train_step(state, iter([batch]), task, plan)

    assert length > 1
    assert parts["error"].item() == pytest.approx(expected_loss.item())
    assert norm.item() == pytest.approx(length.item())
    for old, new, gradient in zip(before.parameters(), model.parameters(), gradients, strict=True):
        torch.testing.assert_close(new, old - 0.5 * gradient * (0.1 / length))
        assert new.grad is None
    assert state.step == 1


def test_accumulated_batches_equal_one_large_batch(tmp_path: Path) -> None:
    large, _ = run(tmp_path / "large", toy_plan(share=Share(16)))
    small, _ = run(tmp_path / "small", toy_plan(share=Share(16, passes=4)))
    assert large.step == small.step == 6
    for a, b in zip(large.model.parameters(), small.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_average_follows_its_formula() -> None:
    plan, task = toy_plan(OptimConfig(lr=0.1, ema_decay=0.5)), ToyObjective()
    state = State(toy_model(), plan.optim)
    expected = [parameter.detach().double() for parameter in state.model.parameters()]
    for n in range(1, 7):
        train_step(state, iter([next(task.batches(0))]), task, plan)
        decay = min(0.5, 1 - n ** (-2 / 3))
        weights = [parameter.detach().double() for parameter in state.model.parameters()]
        expected = [decay * mean + (1 - decay) * weight for mean, weight in zip(expected, weights, strict=True)]
        for ours, theirs in zip(state.result.parameters(), expected, strict=True):
            torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-6)
    assert not equal(state.result, state.model)


def test_without_an_average_the_weights_themselves_are_evaluated() -> None:
    state = State(toy_model(), OptimConfig(ema_decay=None))
    assert state.result is state.model


def test_decay_is_for_matrices_and_bias_tables_only() -> None:
    model = GCViT(replace(VARIANTS["gcvit_pico"], layer_scale=1e-5))
    optimizer = create_optimizer(model, OptimConfig(weight_decay=0.3))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0), name
    assert decay[id(model.stages[0].blocks[1].attention.bias.table)] == 0.3


def test_same_seed_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    states = [run(tmp_path / str(i), toy_plan(seed=seed), dropout=0.5)[0] for i, seed in enumerate((1, 1, 2))]
    assert equal(states[0].model, states[1].model)
    assert equal(states[0].result, states[1].result)
    assert not equal(states[0].model, states[2].model)


def test_every_step_and_every_batch_of_it_draws_anew() -> None:
    class Drawing(ToyObjective):
        def loss(self, model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
            drawn.append((torch.rand(()).item(), random.random(), np.random.rand()))
            return super().loss(model, batch)

    drawn: list[tuple[float, float, float]] = []
    plan = toy_plan(share=Share(8, passes=2))
    task = Drawing(plan.share)
    for _ in range(2):
        state = State(toy_model(), plan.optim)
        for epoch in range(2):
            batches = task.batches(epoch)
            for _ in range(plan.steps_per_epoch):
                train_step(state, batches, task, plan)
    assert drawn[:16] == drawn[16:]
    assert all(len(set(column)) == 16 for column in zip(*drawn, strict=True))


@pytest.mark.parametrize("losses", range(1, 25))
def test_a_run_that_is_killed_anywhere_goes_on_as_if_it_never_stopped(tmp_path: Path, losses: int) -> None:
    """Also inside the accumulation of a step; what is saved and nothing else is gone on with."""
    plan = toy_plan(share=Share(8, passes=2))  # 12 steps of two losses
    whole, best = run(tmp_path / "whole", plan, dropout=0.5)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", plan, ToyObjective(plan.share, fail_at=losses, failure=KeyboardInterrupt()), dropout=0.5)
    torch.rand(17)  # the global generators' state does not matter
    task = ToyObjective(plan.share)
    again, best_again = run(tmp_path / "a", plan, task, dropout=0.5)
    assert task.losses == 24 - (losses - 1) // 2 * 2  # no step is done twice
    assert equal(again.model, whole.model)
    assert equal(again.result, whole.result)
    assert (best_again.best_epoch, best_again.best_metrics) == (best.best_epoch, best.best_metrics)
    logs = [
        [
            event | {"time": 0, "seconds": 0, "images_per_second": 0, "memory_gib": 0}
            for event in events
            if "epoch" in event
        ]
        for events in (read_log(tmp_path / name / "log.jsonl") for name in ("whole", "a"))
    ]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("evaluations", [1, 2, 3])
def test_an_evaluation_that_was_cut_off_is_made_up_for(tmp_path: Path, evaluations: int) -> None:
    class Cut(ToyObjective):
        def evaluate(self, model: nn.Module) -> dict[str, float]:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            return super().evaluate(model)

    left = evaluations
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, toy_plan(), Cut())
    _, results = run(tmp_path, toy_plan())
    events = [event["epoch"] for event in read_log(tmp_path / "log.jsonl") if event["event"] == "evaluation"]
    assert events == [1, 2, 3]
    assert results.last_epoch == 3


def test_two_processes_do_what_one_does_in_two_passes() -> None:
    """The chunks of an update are the same, and so are their seeds."""
    seen: dict[int, dict[int, list]] = {}
    for ranks, passes in ((1, 2), (2, 1)):
        seen[ranks] = {}
        for rank in range(ranks):
            share = Share(8, passes, rank, ranks)
            batches = list(ToyObjective(share).batches(1, start=2))
            for number, (inputs, _) in enumerate(batches):
                update, passed = divmod(number, passes)
                seen[ranks][update * 2 + share.chunk(passed)] = inputs.tolist()
    assert seen[1] == seen[2]
    assert sorted(seen[1]) == [0, 1, 2, 3]


@pytest.mark.parametrize("bad", [nan, inf])
def test_a_bad_loss_names_epoch_and_step_and_keeps_the_epochs_before(tmp_path: Path, bad: float) -> None:
    plan = toy_plan(log_every=3)
    task = ToyObjective(fail_at=6, failure=bad)  # of 4 an epoch: in the second epoch, between two lines of the log
    with pytest.raises(TrainingDiverged, match=r"diverged in epoch 2, step 6: the loss is (nan|inf)") as caught:
        run(tmp_path, plan, task)
    assert [name for name, _ in task.saved] == ["best", "last"]
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step-000000005", "step-000000004"]
    for path in tmp_path.rglob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(path).values())
    assert ", ".join(task.samples(1, 1)) in str(caught.value)
    assert read_log(tmp_path / "log.jsonl")[-1]["error"].startswith("TrainingDiverged")


def test_what_diverged_between_two_log_lines_is_not_saved(tmp_path: Path) -> None:
    task = ToyObjective(fail_at=6, failure=nan)
    with pytest.raises(TrainingDiverged, match="step 6"):
        run(tmp_path, toy_plan(log_every=100), task, minutes=1e9)
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step-000000004"]


def test_a_metric_that_is_not_a_number_is_not_saved(tmp_path: Path) -> None:
    task = ToyObjective()
    task.scores = iter([0.5, nan])
    with pytest.raises(TrainingDiverged, match="after epoch 2"):
        run(tmp_path, toy_plan(), task)
    assert [metadata["epoch"] for _, metadata in task.saved] == ["1", "1"]


def test_best_and_last(tmp_path: Path) -> None:
    task = ToyObjective()
    task.scores = iter([0.1, 0.5, 0.3, 0.5, 0.4])
    _, results = run(tmp_path, toy_plan(epochs=5), task)
    saves = [(name, int(metadata["epoch"])) for name, metadata in task.saved]
    assert [epoch for name, epoch in saves if name == "last"] == [1, 2, 3, 4, 5]
    assert [epoch for name, epoch in saves if name == "best"] == [1, 2, 4]  # of equals the later one
    assert (results.best_epoch, results.best_metrics["score"]) == (4, 0.5)
    events = [event for event in read_log(tmp_path / "log.jsonl") if event["event"] == "evaluation"]
    assert [event["best"] for event in events] == [True, True, False, True, False]


def test_the_last_epoch_is_always_evaluated(tmp_path: Path) -> None:
    run(tmp_path, toy_plan(epochs=5, eval_every=2, log_every=3), minutes=1e9)
    events = read_log(tmp_path / "log.jsonl")
    assert [event["epoch"] for event in events if event["event"] == "evaluation"] == [2, 4, 5]
    assert [event["step"] for event in events if event["event"] == "steps"][:4] == [3, 4, 6, 8]


def test_parts_of_the_loss_are_summed_and_logged(tmp_path: Path) -> None:
    class InParts(ToyObjective):
        def loss(self, model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
            (error,) = super().loss(model, batch).values()
            return {"near": 0.25 * error, "far": 0.75 * error}

    whole, _ = run(tmp_path / "whole", toy_plan(share=Share(16, passes=2)))
    plan = toy_plan(share=Share(16, passes=2))
    parts, _ = run(tmp_path / "parts", plan, InParts(plan.share))
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    events = [event for event in read_log(tmp_path / "parts/log.jsonl") if event["event"] == "steps"]
    assert events
    for event in events:
        assert event["loss_near"] == pytest.approx(0.25 * event["loss"], rel=1e-5)
        assert event["loss_far"] == pytest.approx(0.75 * event["loss"], rel=1e-5)
    assert not any("loss_error" in event for event in read_log(tmp_path / "whole/log.jsonl"))


def test_only_the_score_must_be_a_number(tmp_path: Path) -> None:
    class WithoutLoss(ToyObjective):
        def evaluate(self, model: nn.Module) -> dict[str, float | None]:
            return {"score": super().evaluate(model)["score"], "ap_small": None}

    _, results = run(tmp_path, toy_plan(), WithoutLoss())
    assert results.best_epoch
    evaluated = [event for event in read_log(tmp_path / "log.jsonl") if event["event"] == "evaluation"]
    assert [event["ap_small"] for event in evaluated] == [None] * toy_plan().epochs


@pytest.mark.parametrize("value", [nan, inf])
def test_another_metric_that_is_no_number_is_none(tmp_path: Path, value: float) -> None:
    class Odd(ToyObjective):
        def evaluate(self, model: nn.Module) -> dict[str, float]:
            return super().evaluate(model) | {"odd": value}

    _, results = run(tmp_path, toy_plan(), Odd())
    assert results.best_metrics["odd"] is None
    events = [event for event in read_log(tmp_path / "log.jsonl") if event["event"] == "evaluation"]
    assert {event["odd"] for event in events} == {None}


def test_a_run_without_its_score_ends_in_words(tmp_path: Path) -> None:
    class Scoreless(ToyObjective):
        def evaluate(self, model: nn.Module) -> dict[str, float | None]:
            return {"score": None}

    with pytest.raises(UserError, match=r"after epoch 1 gave no score, .*; hold out other images"):
        run(tmp_path, toy_plan(), Scoreless())
