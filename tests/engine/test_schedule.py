"""The learning rate: its end points, and timm's scheduler as an independent witness."""

import pytest
import torch
from timm.scheduler import CosineLRScheduler

from gcvit.data.sampling import Share
from gcvit.engine.loop import Plan
from gcvit.engine.optim import OptimConfig
from gcvit.engine.schedule import learning_rate


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
    optim = OptimConfig(lr=1.0, warmup_epochs=1.5, cooldown_epochs=2, warmup_lr=0.0, min_lr=0.25)
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


def test_a_plan_in_steps_counts_warm_up_in_steps_and_ends_at_its_last() -> None:
    optim = OptimConfig(lr=1.0, schedule="linear", warmup_steps=2, warmup_lr=0.0, min_lr=0.0)
    plan = Plan(epochs=3, steps_per_epoch=4, length=10, share=Share(1), optim=optim, device=torch.device("cpu"))
    assert [plan.learning_rate(step) for step in range(4)] == pytest.approx([0.0, 0.45, 0.8, 0.7])
    assert plan.steps == 10
    assert [step for step in range(11) if plan.ends_epoch(step)] == [0, 4, 8, 10]
    assert [plan.epochs_done(step) for step in (0, 3, 4, 9, 10)] == [0, 0, 1, 2, 3]
