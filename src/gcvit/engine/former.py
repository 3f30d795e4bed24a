"""Settings as earlier versions of gcvit wrote them into a run's folder, in today's words."""

from collections.abc import Mapping
from typing import Any

from gcvit.engine.fields import convert
from gcvit.engine.schedule import Length
from gcvit.engine.settings import OptimConfig


def renewed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run, all or some, under their present names.

    Warm-up and cool-down were numbers, and their names told the unit; in a run that is counted in steps an epoch was
    the stretch between two evaluations. Raises UserError for one of these that is no number.
    """
    optim = settings.get("optim")
    if not isinstance(optim, Mapping):
        return dict(settings)
    steps, every = settings.get("steps"), settings.get("eval_every")
    stretch = min(steps, every) if isinstance(steps, int) and isinstance(every, int) else None

    def length(epochs: float) -> str:
        return str(Length(epochs, "epoch") if stretch is None else Length(round(epochs * stretch), "step"))

    found = dict(optim)
    warmup = convert(found.pop("warmup_epochs", None), float | None, "'optim.warmup_epochs'")
    in_steps = convert(found.pop("warmup_steps", None), int | None, "'optim.warmup_steps'")
    cooldown = convert(found.pop("cooldown_epochs", None), float | None, "'optim.cooldown_epochs'")
    if in_steps is not None:
        found["warmup"] = str(Length(in_steps, "step"))
    elif warmup is not None:
        found["warmup"] = length(warmup)
    if cooldown is not None:
        found["cooldown"] = length(cooldown)
    return {**settings, "optim": found}


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The `renewed` settings of a run, with those that there have been since: their default is what was done before."""
    settings = renewed(settings)
    if isinstance(settings.get("optim"), Mapping):
        usual = OptimConfig()
        later = {"milestones": list(usual.milestones), "lr_parts": list(usual.lr_parts)}
        settings["optim"] = later | settings["optim"]
    return settings
