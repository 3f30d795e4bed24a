"""A recipe: a starting point for a run, and what a person should know before choosing it."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """A configuration with a name.

    config: makes it. does: what it trains, in a line. cost: of time, hardware or images. text: everything else that
    `gcvit train TASK NAME --help` says. commands: for one GPU, one machine, many.
    """

    name: str
    config: Callable[[], Any]
    does: str
    cost: str
    text: str = ""
    commands: tuple[tuple[str, str], ...] = ()

    @property
    def help(self) -> str:
        """All of it, for a person."""
        lines = [f"{self.name}: {self.does}.", "", f"Cost: {self.cost}.", cleandoc(self.text)]
        lines += [f"{where}: {command}" for where, command in self.commands]
        return "\n".join(lines).strip()


def on_gpus(task: str, name: str, passes: int) -> tuple[tuple[str, str], ...]:
    """The commands of a recipe that takes pictures one by one. passes: that one GPU divides a batch into."""
    return (
        ("One GPU", f"gcvit train {task} {name} --data PATH --accumulate {passes}"),
        ("One node", f"torchrun --nproc-per-node 8 -m gcvit train {task} {name} --data PATH"),
        ("Many nodes", f"TASK={task} sbatch --nodes 2 examples/slurm.sbatch {name} --data PATH"),
    )


def recipes(*found: Recipe) -> dict[str, Recipe]:
    """Recipes by name, in order."""
    return {recipe.name: recipe for recipe in found}
