"""A study is a few arms with a few seeds each. Its results survive a stop: started again, it does only what is left."""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from torch import nn

from gcvit.bench.cost import macs, parameters
from gcvit.bench.from_scratch import Result, build_fresh, train_once
from gcvit.bench.report import markdown_table
from gcvit.bench.study import RESULTS, Rows
from gcvit.cli.output import say, table
from gcvit.engine.config import as_dict
from gcvit.engine.loop import seed_everything
from gcvit.model.config import Pair
from gcvit.tasks.config import RunConfig
from gcvit.tasks.task import Task
from gcvit.wording import percent

COST_TOLERANCE = 0.1


def study_parser(about: str | None, out: str) -> ArgumentParser:
    """The flags of a study that trains on any device; it adds its own. out: the usual folder."""
    parser = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--workers", type=int, default=0, help="processes that load images")
    return parser


def run_study(
    folder: Path, arms: Sequence[str], seeds: int, budget: Mapping[str, Any], run: Callable[[str, int], Result]
) -> dict[str, list[Result]]:
    """`run(arm, seed)` for every arm with seeds 0, 1, …, all arms of a seed before the next one, so that a stop
    leaves whole seeds. Returns the results of each arm in the order of the seeds.

    Each result becomes a line of `folder`/results.jsonl, together with the budget: all settings that it depends on,
    in plain JSON types. Those that are there already are not run again. Raises UserError when they had another budget.
    """
    rows = Rows(folder / RESULTS, budget, ("arm", "seed", "result"))
    found = {(row["arm"], row["seed"]): Result(**row["result"]) for row in rows.rows}
    with rows.stoppable():
        for (arm, seed), said in rows.left(dict.fromkeys(((arm, seed) for seed in range(seeds) for arm in arms), 1)):
            say(said)
            result = found[arm, seed] = run(arm, seed)
            rows.add({"arm": arm, "seed": seed, "result": asdict(result)})
            say(f"{arm}, seed {seed}: {result.score:.2%} after {result.seconds:.0f} s")
    return {arm: [found[arm, seed] for seed in range(seeds)] for arm in arms}


def costs(models: Mapping[str, nn.Module], ours: nn.Module, size: int | Pair) -> dict[str, dict[str, str]]:
    """Columns of the table for each model. Raises ValueError when one costs much more or less than ours."""
    wanted, columns = macs(ours, size), {}
    for arm, model in models.items():
        cost = macs(model, size)
        if abs(cost / wanted - 1) > COST_TOLERANCE:
            raise ValueError(f"{arm} takes {cost / 1e6:.3g} MMACs, ours {wanted / 1e6:.3g}: too far apart")
        columns[arm] = {">parameters": f"{parameters(model):,}", ">MMACs": f"{cost / 1e6:.3g}"}
    return columns


def print_results(
    results: Mapping[str, Sequence[Result]],
    facts: Mapping[str, Mapping[str, str]],
    score: str = "top-1",
    figures: Mapping[str, str] | None = None,
) -> None:
    """The table of a study. facts: of each arm, further columns by heading (">" in front: set to the right).
    score: what it is called. figures: further ones to tell, and what they are called; in the place of the loss."""
    headings, means = list(next(iter(facts.values()), {})), figures or {}
    rows = []
    for arm, runs in results.items():
        shares = [100 * run.score for run in runs]
        spread = f" ± {stdev(shares):.2f}" if len(shares) > 1 else ""
        rows.append(
            [
                arm,
                *facts[arm].values(),
                "  ".join(f"{share:.2f}" for share in shares),
                f"{mean(shares):.2f}{spread}",
                *(percent(mean(run.figures[name] for run in runs)) for name in means),
                *([] if means else [f"{mean(run.loss or 0.0 for run in runs):.4f}"]),
                f"{median(run.images_per_second for run in runs):.0f}",
            ]
        )
    last = [f">{name}, mean" for name in means.values()] or [">loss"]
    measured = [f">{score} of each seed, %", ">mean ± standard deviation", *last, ">images/s, median"]
    tell(["arm", *headings, *measured], rows)


def tell(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, and once more in Markdown."""
    table(columns, rows)
    print(f"\n{markdown_table(columns, rows)}", flush=True)


def compare_from_scratch(
    options: Namespace, task: Task, config: RunConfig, make: Callable[[str, int], nn.Module]
) -> dict[str, list[Result]]:
    """The study in which what `make` makes for an arm and a number of classes is trained from scratch. options: those
    of `study_parser`, with `arms`."""
    return run_study(
        options.out,
        options.arms,
        options.seeds,
        as_dict(replace(config, workers=0)),  # workers do not change the results
        lambda arm, seed: train_from_scratch(
            task, replace(config, seed=seed), partial(make, arm), options.out / f"{arm}-{seed}.jsonl"
        ),
    )


def train_from_scratch(task: Task, config: RunConfig, make: Callable[[int], nn.Module], log_path: Path) -> Result:
    """Train what `make` makes for a number of classes, all else as in a run with this configuration."""
    data = task.open_data(config)
    opened = build_fresh(task, config, data)  # says how pictures are prepared
    seed_everything(config.seed)
    opened.model = make(len(data.classes))
    return train_once(opened, config, data, log_path)
