"""The time left: early, with all that is still to come, and true where the past is like the future."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcvit.data.sampling import Share
from gcvit.engine import pace
from gcvit.engine.loop import Plan
from gcvit.engine.pace import Pace
from gcvit.engine.settings import OptimConfig


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    found = Clock()
    monkeypatch.setattr(pace, "time", found)
    return found


def shown(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02} left"


@pytest.mark.parametrize(("step", "save", "evaluation"), [(1.5, 3.0, 20.0), (60.0, 0.0, 600.0), (0.5, 0.0, 0.0)])
def test_the_time_left_is_that_of_steps_saves_and_evaluations(
    clock: Clock, step: float, save: float, evaluation: float
) -> None:
    """Four epochs of ten steps, each with a save and an evaluation; and one evaluation more, of the best weights."""
    left = Pace(40)
    left.ahead, rest = 5, 40 * step + 4 * save + 5 * evaluation
    assert left.left() == ""
    for number in range(1, 41):
        clock.now += step
        rest -= step
        left.stepped(number)
        if number % 10 == 0:
            clock.now += save
            rest -= save
            left.evaluate()
            for _ in range(4):
                clock.now += evaluation / 4
                rest -= evaluation / 4
                if number > 10 and save == 0:
                    assert left.left() == shown(rest)
            left.evaluated()
            if save == 0 or number == 40:
                assert left.left() == shown(rest)
        elif 6 < number < 10:
            assert left.left() == f"over {shown((40 - number) * step)}"
    left.evaluate()
    clock.now += evaluation / 2
    assert left.left() == shown(rest - evaluation / 2)


def test_it_is_known_after_the_second_step_however_slow(clock: Clock) -> None:
    left = Pace(100)
    for number, expected in ((1, ""), (2, shown(98 * 60))):
        clock.now += 600 if number == 1 else 60  # the first one compiles
        left.stepped(number)
        assert left.left() == expected


def test_a_run_that_goes_on_remembers_its_evaluations(clock: Clock) -> None:
    left = Pace(100)
    left.ahead = 3
    left.recall(30.0)
    for number in range(50, 60):
        clock.now += 1
        left.stepped(number)
    assert left.left() == shown(41 + 90)


@given(epochs=st.integers(1, 30), every=st.integers(1, 40))
def test_evaluations_ahead_are_counted(epochs: int, every: int) -> None:
    plan = Plan(epochs, 1, Share(1), OptimConfig(), device=None, eval_every=every)  # type: ignore[arg-type]
    for epoch in range(epochs + 1):
        assert plan.evaluations_after(epoch) == sum(plan.evaluates(later) for later in range(epoch + 1, epochs + 1))
