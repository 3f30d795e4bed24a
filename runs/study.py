"""A study is a few arms with a few seeds each. Its results survive a stop: started again, it does only what is left."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from gcvit.cli.output import say, table
from gcvit.engine.config import differences
from gcvit.engine.log import read_log
from gcvit.files import write_atomically


@dataclass(frozen=True)
class Result:
    """What one arm reached with one seed.

    top1: share of the held-out images, 0 … 1. loss: mean cross-entropy on them. seconds: of the run since it was
    started or went on. images_per_second: as `training_speed` gives it.
    """

    top1: float
    loss: float
    seconds: float
    images_per_second: float


def run_study(
    folder: Path, arms: Sequence[str], seeds: int, budget: Mapping[str, Any], run: Callable[[str, int], Result]
) -> dict[str, list[Result]]:
    """`run(arm, seed)` for every arm with seeds 0, 1, …, all arms of a seed before the next one, so that a stop
    leaves whole seeds. Returns the results of each arm in the order of the seeds.

    Each result becomes a line of `folder`/results.jsonl, together with the budget: all settings that it depends on,
    in plain JSON types. Those that are there already are not run again. Raises ValueError when they had another budget.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    for row in rows:
        if changes := differences(row["budget"], budget):
            raise ValueError(f"{path} has results of another budget: {'; '.join(changes)}; give another folder")
    found = {(row["arm"], row["seed"]): Result(**row["result"]) for row in rows}
    left = [(arm, seed) for seed in range(seeds) for arm in arms if (arm, seed) not in found]
    for number, (arm, seed) in enumerate(left, 1):
        say(f"{arm}, seed {seed}: run {number} of {len(left)}")
        result = found[arm, seed] = run(arm, seed)
        rows.append({"arm": arm, "seed": seed, "result": asdict(result), "budget": dict(budget)})
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        say(f"{arm}, seed {seed}: top-1 {result.top1:.2%} after {result.seconds:.0f} s")
    return {arm: [found[arm, seed] for seed in range(seeds)] for arm in arms}


def training_speed(log: Path) -> float:
    """Median images per second over the reported stretches of training, from a run's log.jsonl."""
    return median(event["images_per_second"] for event in read_log(log) if event["event"] == "steps")


def print_results(results: Mapping[str, Sequence[Result]], facts: Mapping[str, Mapping[str, str]]) -> None:
    """The table of a study. facts: of each arm, further columns by heading (">" in front: set to the right)."""
    headings = list(next(iter(facts.values()), {}))
    rows = []
    for arm, runs in results.items():
        shares = [100 * run.top1 for run in runs]
        spread = f" ± {stdev(shares):.2f}" if len(shares) > 1 else ""
        rows.append(
            [
                arm,
                *facts[arm].values(),
                "  ".join(f"{share:.2f}" for share in shares),
                f"{mean(shares):.2f}{spread}",
                f"{mean(run.loss for run in runs):.4f}",
                f"{median(run.images_per_second for run in runs):.0f}",
            ]
        )
    measured = [">top-1 of each seed, %", ">mean ± standard deviation", ">loss", ">images/s, median"]
    table(["arm", *headings, *measured], rows)
