"""The learning rate: its end points, and timm's scheduler as an independent witness."""

import dataclasses
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from timm.scheduler import CosineLRScheduler

from gcvit.data.sampling import Share
from gcvit.engine.loop import Plan
from gcvit.engine.schedule import learning_rate
from gcvit.engine.settings import OptimConfig
from gcvit.tasks.classify import ClassifyConfig


def test_end_points() -> None:
    def rate(step: int) -> float:
        return learning_rate(step, steps=100, peak=1.0, warmup_steps=10, start=0.1, floor=0.01)

    assert rate(0) == 0.1
    assert rate(5) == pytest.approx(0.55)  # half way up
    assert rate(50) == pytest.approx((1.0 + 0.01) / 2)  # the cosine's middle
    assert rate(100) == rate(1000) == 0.01
    rates = [rate(step) for step in range(101)]
    assert max(rates) == rates[10] > 0.97
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_without_warmup_it_starts_at_the_peak() -> None:
    assert learning_rate(0, steps=10, peak=0.5) == 0.5


@pytest.mark.parametrize(("steps", "warmup"), [(310, 20), (57, 0), (8, 8)])
def test_equal_to_timm_step_by_step(steps: int, warmup: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=5e-3)
    theirs = CosineLRScheduler(
        optimizer, t_initial=steps, lr_min=5e-6, warmup_t=warmup, warmup_lr_init=1e-6, t_in_epochs=False
    )
    for step in range(steps + 10):
        theirs.step_update(step)
        ours = learning_rate(step, steps=steps, peak=5e-3, warmup_steps=warmup, start=1e-6, floor=5e-6)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step


def test_a_plan_counts_warmup_and_cooldown_in_epochs_of_the_run() -> None:
    optim = OptimConfig(lr=1.0, warmup="1.5 epochs", cooldown="2 epochs", warmup_lr=0.0, min_lr=0.25)
    plan = Plan(epochs=10, steps_per_epoch=4, share=Share(1), optim=optim, device=torch.device("cpu"))
    rates = [plan.learning_rate(step) for step in range(plan.steps)]
    assert rates[:3] == pytest.approx([0, 1 / 6, 2 / 6])
    assert rates.index(max(rates)) == 6
    assert rates[-8:] == [0.25] * 8
    assert rates[-9] > 0.25


def test_the_straight_line_with_warm_up_as_a_factor() -> None:
    """As published segmentation models were trained: from ratio × rate, the ratio rising to 1 over the warm-up."""
    peak, steps, warmup, ratio = 6e-5, 160_000, 1500, 1e-6
    for step in (0, 1, 700, 1499, 1500, 80_000, 159_999):
        line = peak * (1 - step / steps)
        wanted = line * (1 - (1 - step / warmup) * (1 - ratio)) if step < warmup else line
        ours = learning_rate(
            step, steps=steps, peak=peak, warmup_steps=warmup, start=ratio * peak, floor=0.0, shape="linear"
        )
        assert ours == pytest.approx(wanted, rel=1e-9), step


def test_the_rate_in_steps_is_that_of_torchs_schedulers() -> None:
    """As published detectors were trained: a tenth from epochs 27 and 33 on, after 500 steps from a thousandth."""
    epochs, per_epoch, peak = 36, 40, 1e-4
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    theirs = [
        torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.001, total_iters=500),
        torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[27 * per_epoch, 33 * per_epoch]),
    ]
    milestones = ("27 epochs", "33 epochs"), ("75%", "1320 steps"), ("1080 steps", f"{100 * 33 / 36}%")
    plans = [
        Plan(
            epochs,
            per_epoch,
            Share(1),
            OptimConfig(
                lr=peak, schedule="steps", milestones=given, warmup="500 steps", warmup_lr=peak / 1000, min_lr=0.0
            ),
            torch.device("cpu"),
        )
        for given in milestones
    ]
    for step in range(epochs * per_epoch):
        for plan in plans:
            assert plan.learning_rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step
        optimizer.step()
        for schedule in theirs:
            schedule.step()


def test_milestones_inside_the_warm_up_and_a_floor_hold() -> None:
    optim = OptimConfig(lr=1.0, schedule="steps", milestones=("2 steps", "6 steps"), warmup="4 steps", warmup_lr=0.0)
    rates = [
        Plan(1, 10, Share(1), replace(optim, min_lr=floor, cooldown=cooldown), torch.device("cpu")).learning_rate(step)
        for floor, cooldown in ((0.0, "0 steps"), (0.05, "1 step"))
        for step in range(10)
    ]
    assert rates == pytest.approx(
        [0, 0.25, 0.05, 0.075, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0, 0.25, 0.05, 0.075, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05]
    )


def test_a_plan_in_steps_counts_warm_up_in_steps_and_ends_at_its_last() -> None:
    optim = OptimConfig(lr=1.0, schedule="linear", warmup="2 steps", warmup_lr=0.0, min_lr=0.0)
    plan = Plan(epochs=3, steps_per_epoch=4, length=10, share=Share(1), optim=optim, device=torch.device("cpu"))
    assert [plan.learning_rate(step) for step in range(4)] == pytest.approx([0.0, 0.45, 0.8, 0.7])
    assert plan.steps == 10
    assert [step for step in range(11) if plan.ends_epoch(step)] == [0, 4, 8, 10]
    assert [plan.epochs_done(step) for step in (0, 3, 4, 9, 10)] == [0, 0, 1, 2, 3]


RATES = st.floats(0, 1000) | st.floats(0, 1e-3)


@given(
    peak=st.floats(1e-100, 1000),
    start=RATES,
    floor=RATES,
    steps=st.integers(1, 200),
    warmup=st.integers(0, 250),
    shape=st.sampled_from(["cosine", "linear", "steps"]),
)
@example(peak=1e-6, start=1e-6, floor=5e-6, steps=100, warmup=10, shape="cosine")  # as `--lr 1e-6` once ended
def test_a_rate_is_never_above_the_peak_and_starts_and_ends_where_it_says(
    peak: float, start: float, floor: float, steps: int, warmup: int, shape: Literal["cosine", "linear", "steps"]
) -> None:
    warmup = min(warmup, steps)
    rates = [
        learning_rate(
            step,
            steps=steps,
            peak=peak,
            warmup_steps=warmup,
            start=start,
            floor=floor,
            shape=shape,
            milestones=[max(steps // 2, 1), max(3 * steps // 4, 1)],
        )
        for step in range(steps + 3)
    ]
    assert all(0 <= rate <= peak for rate in rates)
    first = min(start, peak) if warmup else peak
    assert rates[0] == pytest.approx(first, rel=1e-12, abs=1e-200)  # below it products vanish
    assert rates[steps:] == [min(floor, peak)] * 3
    falling = rates[warmup:]
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(falling))


@given(
    epochs=st.integers(1, 6),
    per_epoch=st.integers(1, 7),
    warmup=st.floats(0, 6),
    cooldown=st.floats(0, 6),
    lr=st.floats(1e-9, 1),
    batch=st.integers(1, 512),
)
def test_so_do_those_of_a_plan(
    epochs: int, per_epoch: int, warmup: float, cooldown: float, lr: float, batch: int
) -> None:
    """Whatever settings a configuration takes, and however its epochs are rounded to steps."""
    warmup, cooldown = min(warmup, epochs / 2), min(cooldown, epochs / 2)
    optim = OptimConfig(lr=lr, lr_batch=256, warmup=f"{warmup:.9g} epochs", cooldown=f"{cooldown:.9g} epochs")
    plan = Plan(epochs, per_epoch, Share(batch), optim, torch.device("cpu"))
    rates = [plan.learning_rate(step) for step in range(plan.steps + 1)]
    peak = lr * batch / 256
    assert all(0 < rate <= peak for rate in rates)
    assert rates[-1] == min(optim.min_lr, peak)


def test_a_floor_above_the_peak_is_told() -> None:
    said = OptimConfig(lr=2e-6).describe_lr(32)
    assert said.endswith("at 32 images per update; min_lr, 5e-06, is above it and counts as the same")


def test_a_warm_up_in_steps_that_is_longer_than_the_run_is_refused() -> None:
    optim = OptimConfig(warmup="11 steps")
    with pytest.raises(ValueError, match=r"warmup \(11 steps\) is longer than the run \(5 epochs, 10 steps\); shorten"):
        Plan(epochs=5, steps_per_epoch=2, share=Share(1), optim=optim, device=torch.device("cpu"))
    config = ClassifyConfig(epochs=2, optim=OptimConfig(warmup="0 steps"))
    with pytest.raises(ValueError, match=r"cooldown \(2 epochs\) is the whole run \(2 epochs\)"):
        dataclasses.replace(config, optim=OptimConfig(warmup="0 steps", cooldown="2 epochs"))
