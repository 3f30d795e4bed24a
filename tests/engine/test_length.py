"""Lengths within a run: one value that says its unit, the same however it is spelled, and what it was called before."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gcvit.data.sampling import Share
from gcvit.engine.config import as_dict, load_config, override
from gcvit.engine.loop import Plan
from gcvit.engine.record import changes, settings_of
from gcvit.engine.schedule import Length, parse_length
from gcvit.engine.settings import OptimConfig
from gcvit.errors import UserError
from gcvit.tasks.classify import ClassifyConfig
from gcvit.tasks.classify.recipes import RECIPES
from gcvit.tasks.segment import SegmentConfig

NUMBERS = st.floats(0, 1e9) | st.integers(0, 10**9)


@given(NUMBERS, st.sampled_from(["step", "epoch", "%"]))
def test_what_is_written_is_read(number: float, unit: str) -> None:
    written = str(Length(number, unit))
    read = parse_length("warmup", written)
    assert read.number == pytest.approx(number, rel=1e-14)
    assert read.unit == (unit if number else "step")
    assert str(read) == written


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1 epochs", "1 epoch"),
        ("5steps", "5 steps"),
        (" 2.50 epochs ", "2.5 epochs"),
        ("5 %", "5%"),
        ("0%", "0 steps"),
    ],
)
def test_the_same_length_is_the_same_setting(one: str, other: str) -> None:
    assert OptimConfig(warmup=one) == OptimConfig(warmup=other)
    assert OptimConfig(warmup=one).warmup == other


@pytest.mark.parametrize(
    "value",
    ["500", "five steps", "-1 steps", "1e10 steps", "nan epochs", "5 hours", "", "steps", 500, 2.5, None, [""]],
)
@pytest.mark.parametrize("key", ["warmup", "cooldown"])
def test_what_has_no_unit_is_refused_with_an_example(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"{key}'? must be a length with its unit, such as '500 steps', '2.5 epochs'"):
        override(OptimConfig(), {key: value})


@given(
    epochs=st.integers(1, 40),
    per_epoch=st.integers(1, 40),
    share=st.floats(0, 1),
    by_step=st.booleans(),
)
def test_units_are_of_one_run(epochs: int, per_epoch: int, share: float, by_step: bool) -> None:
    """The same warm-up in steps, passes over the images and per cent gives the same rates."""
    steps = epochs * per_epoch
    count = round(share * steps)
    spelled = (f"{count} steps", f"{count / per_epoch:.15g} epochs", f"{100 * count / steps:.15g}%")
    length: dict[str, Any] = {"length": steps, "pass_steps": float(per_epoch)} if by_step else {}
    stretch = max(steps // 3, 1) if by_step else per_epoch
    plans = [
        Plan(-(-steps // stretch), stretch, Share(1), OptimConfig(warmup=text), torch.device("cpu"), **length)
        for text in spelled
    ]
    rates = [[plan.learning_rate(step) for step in range(steps)] for plan in plans]
    assert rates[0] == rates[1] == rates[2]


def test_epochs_are_passes_over_the_images_also_in_a_run_that_is_counted_in_steps() -> None:
    with pytest.raises(UserError, match=r"warmup \(1 epoch\) is longer than the run \(0.5 epochs, 50 steps\); shorten"):
        Plan(5, 10, Share(1), OptimConfig(), torch.device("cpu"), length=50, pass_steps=100.0)
    plan = Plan(5, 10, Share(1), OptimConfig(), torch.device("cpu"), length=50, pass_steps=20.0)
    assert plan.learning_rate(10) == pytest.approx(1e-6 + (1e-3 - 1e-6) / 2)


@pytest.mark.parametrize("schedule", ["cosine", "steps"])
def test_what_does_not_fit_into_the_run_is_refused(schedule: Any) -> None:
    for settings, said in (
        ({"warmup": "4 epochs"}, r"warmup \(4 epochs\) is longer than the run \(3 epochs\)"),
        ({"warmup": "150%"}, r"warmup \(150%\) is longer"),
        ({"warmup": "2 epochs", "cooldown": "40%"}, "together are longer"),
        ({"cooldown": "100%", "warmup": "0%"}, "is the whole run"),
        *(
            [
                ({"milestones": ["2 epochs", "4 epochs"]}, r"milestones \(4 epochs\) is longer"),
                ({"milestones": ["90%", "1 epoch"]}, "milestones must rise, not 90%, 1 epoch"),
                ({"milestones": []}, "milestones must be given"),
            ]
            if schedule == "steps"
            else []
        ),
    ):
        with pytest.raises(UserError, match=said):
            override(ClassifyConfig(), {"epochs": 3, "optim": {"schedule": schedule} | settings})


FORMER: list[tuple[Any, dict[str, Any]]] = [
    (RECIPES["imagenet_tiny"].config(), {"warmup_epochs": 20.0, "warmup_steps": None, "cooldown_epochs": 10.0}),
    (RECIPES["quickstart"].config(), {"warmup_epochs": 0.2, "warmup_steps": None, "cooldown_epochs": 0.0}),
    (SegmentConfig(), {"warmup_epochs": 1.0, "warmup_steps": 50, "cooldown_epochs": 0.0}),
    (
        ClassifyConfig(epochs=None, steps=50, eval_every=20, optim=OptimConfig(warmup="30 steps", cooldown="5 steps")),
        {"warmup_epochs": 1.5, "warmup_steps": None, "cooldown_epochs": 0.25},
    ),
]


@pytest.mark.parametrize(("config", "before"), FORMER)
def test_a_run_of_an_earlier_version_is_the_same_run(config: Any, before: dict[str, Any], tmp_path: Path) -> None:
    """Its train.json is read, and its record is no other one's."""
    then = as_dict(config)
    for key in ("warmup", "cooldown", "milestones", "lr_parts"):
        del then["optim"][key]
    then["optim"] |= before
    (tmp_path / "train.json").write_text(json.dumps(then))
    assert load_config(config, tmp_path / "train.json") == config
    assert changes({"config": then}, settings_of(config), free=()) == []
    for other in (OptimConfig(lr=0.5), OptimConfig(warmup="7 steps"), replace(config.optim, lr_parts=(("head", 2.0),))):
        assert changes({"config": then}, settings_of(replace(config, optim=other)), free=())


def test_a_former_setting_that_is_no_number_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[optim]\nwarmup_steps = 'few'\n")
    with pytest.raises(UserError, match=r"mine\.toml: 'optim\.warmup_steps' must be a whole number or null, not 'few'"):
        load_config(ClassifyConfig(), tmp_path / "mine.toml")
