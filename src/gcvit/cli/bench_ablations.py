"""`gcvit bench ablations`: Tables 4, 5 and S.2, and what the paper leaves open, trained in small."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes

from gcvit.bench.ablation_rows import ABLATION_TABLES, PAPER, TableName, arms_of, check_arms, tables_of
from gcvit.bench.settings import AblationBudget, TaskName
from gcvit.cli.arguments import parse
from gcvit.cli.output import flags_of, longer, next_steps, say, show_study
from gcvit.engine.fields import Range
from gcvit.errors import require
from gcvit.wording import listed


@dataclass(frozen=True)
class Ablations:
    """Train every row of the paper's ablation tables in small, and say whether each step helps as it does in the paper.

    As it stands it takes about an hour of one core, and --dim 64, --deep, --size 224 and --steps make that days of a
    GPU. Started again, it does what is left.
    """

    task: TaskName = "classify"
    """on images, or on the built-in scenes"""
    data: str | None = None
    """as `gcvit train TASK --data` takes it: for classify a folder or tar archive of class folders; none: the built-in
    pictures"""
    out: Path = Path("ablations")
    """a folder for results.jsonl, a line a run, and for what is made of it: ablations.md and a picture of
    the steps that the paper has"""
    tables: tuple[TableName, ...] = PAPER
    """4: from Swin to GC ViT; 5: downsamplers; S.2: what the generator's tokens are; open: what the paper leaves
    open"""
    arms: tuple[str, ...] = ()
    """rows of these tables alone, by the names that `gcvit tables 4 5 S.2 open` has; none: all"""
    seeds: Annotated[int, Range(1, 1000)] = 3
    """runs of each arm"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N"""
    workers: Annotated[int, Range(0, 1024)] = 0
    """processes that load images"""
    budget: OmitArgPrefixes[AblationBudget] = field(default_factory=AblationBudget)

    def __post_init__(self) -> None:
        """Raises UserError for no table, and for rows that the tables do not have. What is named twice counts once."""
        for name in ("tables", "arms"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
        require(len(self.tables) > 0, "--tables", self.tables, "at least one")
        check_arms(self.arms, self.tables)


def run(argv: Sequence[str]) -> None:
    """Train what is left, and show all that is in the results."""
    arguments = parse(Ablations, "bench ablations", argv)
    from gcvit.bench.ablations import STUDIES, run_ablations, steps_of
    from gcvit.bench.ablations_page import draw, page

    rows = run_ablations(
        arguments.out,
        arguments.task,
        arguments.budget,
        data=arguments.data,
        arms=arguments.arms or arms_of(arguments.tables),
        seeds=arguments.seeds,
        device=arguments.device,
        workers=arguments.workers,
        progress=say,
    )
    known = {*arguments.tables, *tables_of(row["arm"] for row in rows)}
    found = steps_of(rows, [name for name in ABLATION_TABLES if name in known])
    compared = [step for step in found if step.step and step.published is not None]
    show_study(page(rows, found, arguments.tables), draw(compared) if compared else None, arguments.out, "ablations")
    shown = [step for step in found if step.table in arguments.tables]
    if alone := list(dict.fromkeys(step.before for step in shown if step.before and step.step is None)):
        say(f"not trained, though rows are compared with them: {listed(alone, 8)}")
    again = longer(arguments, arguments.budget.steps or STUDIES[arguments.task].steps)
    next_steps(["gcvit", "bench", "ablations", *flags_of(again, Ablations())], ["gcvit", "tables", *arguments.tables])
