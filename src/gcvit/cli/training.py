"""What the commands that train have in common: from a recipe, a file and flags to the settings of a run."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar

from tyro.conf import FlagCreatePairsOff, Positional, arg

from gcvit.cli.arguments import parse
from gcvit.cli.output import say, table
from gcvit.engine.config import load_config
from gcvit.engine.folder import Resume

Recipes = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True)
class TrainArguments:
    """What every training command takes; its own adds `settings`."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE", help="where to start; --list shows them")]
    show: Annotated[FlagCreatePairsOff[bool], arg(name="list", help="show the recipes, and train nothing")] = False
    config: Path | None = None
    """a .toml or .json file with settings; a run's own train.json repeats the run"""
    out: Path | None = None
    """folder for the results: new, or of a run that goes on; none: gcvit-runs/RECIPE-001, or the next number"""
    resume: Resume = "auto"
    """auto: an unfinished run with the same settings goes on, in --out or the newest of the recipe; never: a new one"""


Arguments = TypeVar("Arguments", bound=TrainArguments)


def parse_training(
    kind: Callable[..., Arguments], command: str, argv: Sequence[str], recipes: Recipes, default: str
) -> Arguments | None:
    """The arguments of `gcvit COMMAND`, whose recipe is `default` if none is named; None when asked for a list only.

    Flags win over the --config file, the file over the recipe. Raises ValueError for an unknown recipe or file.
    """
    if "--list" in argv:
        _list(recipes, command)
        return None
    recipe, file = _starting_point(argv, default)
    settings = _recipe(recipe, recipes, command)
    if argv[:1] == [recipe] and {"-h", "--help"} & set(argv):
        say(f"{recipe}: {inspect.getdoc(recipes[recipe])}\n")
    if file is not None:
        settings = load_config(settings, file)
    start = kind(recipe=recipe, config=file, settings=settings)
    arguments = parse(type(start), command, argv, default=start)
    if (arguments.recipe, arguments.config) != (recipe, file):
        raise ValueError(f"give the recipe first and --config once: gcvit {command} {arguments.recipe} …")
    return arguments


def _list(recipes: Recipes, command: str) -> None:
    rows = [(name, *_summary(recipe.__doc__ or "")) for name, recipe in recipes.items()]
    table(["recipe", "what it trains", "cost"], rows)
    say("\nAll about one of them, with the commands for one GPU, one machine and many:")
    say(f"  gcvit {command} {rows[min(2, len(rows) - 1)][0]} --help")


def _summary(text: str) -> tuple[str, str]:
    """The first line of a recipe's text, and the first words about its cost."""
    cost = re.search(r"Cost: ([^.(;]*[^.(; ])", " ".join(text.split()))
    return text.splitlines()[0].rstrip("."), cost[1] if cost else ""


def _starting_point(argv: Sequence[str], default: str) -> tuple[str, Path | None]:
    """The recipe and the file, which must be known before the flags, since they are the flags' defaults."""
    recipe = argv[0] if argv and not argv[0].startswith("-") else default
    for position, word in enumerate(argv):
        if word == "--config" and position + 1 < len(argv):
            return recipe, Path(argv[position + 1])
        if word.startswith("--config="):
            return recipe, Path(word.removeprefix("--config="))
    return recipe, None


def _recipe(name: str, recipes: Recipes, command: str) -> Any:
    if name not in recipes:
        near = get_close_matches(name, recipes, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"gcvit {command} --list shows them"
        if Path(name).is_dir():
            hint = f"a folder of images is given as --data {name}"
        raise ValueError(f"no recipe is called {name!r}; {hint}")
    return recipes[name]()
