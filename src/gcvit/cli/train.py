"""`gcvit train TASK [RECIPE]`: trains a model from a recipe, a file and flags."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from gcvit.cli.arguments import ReadsPictures, given, parse, whole, with_parts
from gcvit.cli.output import facts, next_steps, say, say_lines, table, worst
from gcvit.engine.config import UnknownKey, load_config
from gcvit.errors import UserError
from gcvit.shell import as_typed, typed
from gcvit.tasks import TASKS, task_named
from gcvit.wording import rate

if TYPE_CHECKING:
    from gcvit.engine.folder import Resume
    from gcvit.tasks.recipe import Recipe
    from gcvit.tasks.task import Task
    from gcvit.tasks.train import TrainResult


@dataclass(frozen=True)
class Train(ReadsPictures):
    """Train a model; without a recipe and data a small one on built-in images.

    Flags win over the --config file, the file over the recipe.
    """

    recipe: Annotated[Positional[str], arg(metavar="RECIPE", help="where to start; --list shows them")]
    show: Annotated[FlagCreatePairsOff[bool], arg(name="list", help="show the recipes, and train nothing")] = False
    config: Path | None = None
    """a .toml or .json file with settings; a run's own train.json repeats the run"""
    out: Path | None = None
    """folder for the results: new, or of a run that goes on; none: gcvit-runs/RECIPE-001, or the next number"""
    resume: Literal["auto", "never"] = "auto"
    """auto: an unfinished run with the same settings goes on, in --out or the newest of the recipe; never: a new one"""
    data_moved: FlagCreatePairsOff[bool] = False
    """the data only lie elsewhere now: the unfinished run that they are of goes on; other data are another run"""

    def how_to_go_on(self) -> Resume:
        """Raises UserError for a run that is to go on and must not."""
        if self.data_moved and self.resume == "never":
            raise UserError("--data-moved is for a run that goes on, and --resume never forbids it; give one of them")
        return "moved" if self.data_moved else self.resume


def run(argv: Sequence[str]) -> None:
    """Train, then show what was reached, where it lies and what to type next."""
    if argv[:1] in (["-h"], ["--help"]):
        _tasks()
        return
    if not argv or argv[0].startswith("-"):
        names = " or ".join(f"gcvit train {task.name}" for task in TASKS)
        raise UserError(f"train what? Type: {names}")
    task, argv = task_named(argv[0]), argv[1:]
    if "--list" in argv:
        _list(task)
        return
    arguments, settings = _parse(task, argv)
    if settings.data is None and arguments.recipe != next(iter(task.recipes)):
        raise UserError(
            f"{arguments.recipe} needs your images: add --data PATH, {task.needs}. On built-in images trains: "
            f"gcvit train {task.name}"
        )
    from gcvit.distributed import is_main, process_group
    from gcvit.tasks.train import train

    with process_group():
        result = train(task, settings, arguments.out, name=arguments.recipe, resume=arguments.how_to_go_on())
        if is_main():
            _report(result)


def _tasks() -> None:
    say(f"usage: {typed(['gcvit', 'train'])} TASK [RECIPE] [OPTIONS]")
    rows = [[task.name, f"a model that {task.does}", str(len(task.recipes))] for task in TASKS]
    table(["task", "what it trains", ">recipes"], rows)
    next_steps(*(["gcvit", "train", task.name, flag] for task in TASKS for flag in ("--list", "--help")))


def _parse(task: Task, argv: Sequence[str]) -> tuple[Train, Any]:
    """The arguments and the settings. Raises UserError for an unknown recipe or file."""
    # What the flags' defaults come from must be known before them.
    name = argv[0] if argv and not argv[0].startswith("-") else next(iter(task.recipes))
    given_file = given("--config", argv)
    file = None if given_file is None else Path(given_file)
    recipe = _recipe(name, task)
    settings = recipe.config()
    if argv[:1] == [name] and {"-h", "--help"} & set(argv):
        say_lines(f"{as_typed(recipe.help)}\n")
    if file is not None:
        settings = _laid_over(settings, file)
    kind = with_parts(Train, keep=("arch",), settings=settings)
    start = kind(recipe=name, config=file)
    arguments = parse(kind, f"train {task.name}", argv, default=start)
    if (arguments.recipe, arguments.config) != (name, file):
        raise UserError(f"give the recipe first and --config once: gcvit train {task.name} {arguments.recipe} …")
    settings = whole(task.config, arguments.settings)
    if (own := recipe.config().ablation) not in (None, settings.ablation):
        raise UserError(
            f"the recipe {name} is the ablation {own}, and ablation is set to {settings.ablation or 'none'}; leave one "
            "of them out: the other ablation has a recipe of its own, and none is imagenet_tiny"
        )
    return arguments, settings


def _laid_over(settings: Any, file: Path) -> Any:
    """The settings with those of a file. Raises UserError for one that does not fit; another task's is told as such."""
    try:
        return load_config(settings, file)
    except UnknownKey as error:
        fits = " or ".join(f"gcvit train {other.name}" for other in TASKS if _fits(other, file))
        raise UserError(f"{error}{fits and f'; the file fits {fits}'}") from error


def _fits(task: Task, file: Path) -> bool:
    try:
        load_config(task.config(), file)
    except UserError:
        return False
    return True


def _list(task: Task) -> None:
    rows = [[recipe.name, recipe.does, recipe.cost.partition(" (")[0]] for recipe in task.recipes.values()]
    table(["recipe", "what it trains", "cost"], rows)
    names = list(task.recipes)
    say("\nAll about one of them, with the commands for one GPU, one machine and many:")
    say(f"  {typed(['gcvit', 'train', task.name, names[min(2, len(names) - 1)], '--help'])}")


def _recipe(name: str, task: Task) -> Recipe:
    recipes: Mapping[str, Recipe] = task.recipes
    if name not in recipes:
        near = get_close_matches(name, recipes, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"gcvit train {task.name} --list shows them"
        if Path(name).is_dir():
            hint = f"a folder of images is given as {shlex.join(['--data', name])}"
        raise UserError(f"no recipe is called {name!r}; {hint}")
    return recipes[name]


def _report(result: TrainResult) -> None:
    from gcvit.tasks.train import QUARANTINE

    task, config, evaluation, outputs = result.task, result.config, result.evaluation, result.outputs
    skipped = f"{result.skipped:,} images left out of training, listed in {result.out / QUARANTINE}"
    speed = f", {rate(result.images_per_second)} images/s in training" if result.images_per_second else ""
    say(f"\n{evaluation.basis()}")
    facts(
        [
            *((number.name, f"{number.value}, {number.meaning}") for number in evaluation.numbers()),
            (f"best {config.unit}", f"{result.best_at:,} of {config.steps or config.epochs:,}"),
            *([("unreadable", skipped)] if result.skipped else []),
            ("time", f"{result.seconds:,.0f} s{speed}"),
        ]
    )
    if caution := evaluation.caution:
        say(caution)
    worst(evaluation.per_class())
    say()
    report = outputs["report"]
    drawn = [(name, str(path)) for name, path in outputs.items() if name != "report"]
    facts([("report", str(report)), ("best weights", str(result.best)), ("last weights", str(result.last)), *drawn])
    if config.data is not None:
        next_steps(
            ["gcvit", "eval", result.out], ["gcvit", "predict", result.out, "photo.jpg"], ["gcvit", "info", result.out]
        )
        return
    examples: list[list[object]] = [["gcvit", "predict", result.out, "photo.jpg"]]
    if task.example_pictures:
        folder = f"shapes-{task.name}"
        shapes = ["gcvit", "data", "shapes", folder, "--as", task.name, "--train", 100, "--val", 100]
        pictures = f"{folder}/{task.example_pictures}"
        examples = [[*shapes, *task.example_flags(config)], ["gcvit", "predict", result.out, pictures]]
    own = [["gcvit", "train", task.name, *task.own_recipe, "--data", "YOUR_IMAGES"]] if task.needs else []
    next_steps(["gcvit", "eval", result.out], *examples, *own)
