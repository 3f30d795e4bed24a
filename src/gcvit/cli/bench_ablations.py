"""`gcvit bench ablations`: Tables 4, 5 and S.2, and what the paper leaves open, trained in small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes

from gcvit.bench.ablation_rows import ABLATION_TABLES, PAPER, TableName, arms_of, check_arms, heading, tables_of
from gcvit.bench.markdown import markdown_table
from gcvit.bench.settings import AblationBudget, TaskName
from gcvit.cli.arguments import parse
from gcvit.cli.output import flags_of, longer, next_steps, say, table, write_figure, write_page
from gcvit.engine.fields import Range
from gcvit.errors import require
from gcvit.wording import listed

if TYPE_CHECKING:
    from gcvit.bench.ablations import Measured, Step

SURE = 0.05


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
    from gcvit.bench.ablations import RESULTS, STUDIES, run_ablations, steps_of

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
    score, before = STUDIES[arguments.task].score, arguments.budget.steps or STUDIES[arguments.task].steps
    known, parts = {*arguments.tables, *tables_of(row["arm"] for row in rows)}, list[str]()
    found = steps_of(rows, [name for name in ABLATION_TABLES if name in known])
    for name in dict.fromkeys(step.table for step in found):
        title, columns = f"{heading(name)} in small: {ABLATION_TABLES[name]}", columns_of(score)
        cells = [cells_of(step) for step in found if step.table == name]
        parts += [f"### {title}", markdown_table(columns, cells)]
        if name in arguments.tables:
            say(f"\n{title}")
            table(columns, cells)
    notes = notes_of(rows, score)
    say()
    for note in notes:
        say(note)
    write(arguments.out, found, [*parts, "\n".join(notes)])
    say(f"written: {arguments.out / RESULTS}")
    shown = [step for step in found if step.table in arguments.tables]
    if alone := list(dict.fromkeys(step.before for step in shown if step.before and step.step is None)):
        say(f"not trained, though rows are compared with them: {listed(alone, 8)}")
    more = replace(arguments.budget, steps=4 * before)
    again = replace(arguments, out=longer(arguments.out, before, 4 * before), budget=more)
    next_steps(["gcvit", "bench", "ablations", *flags_of(again, Ablations())], ["gcvit", "tables", *arguments.tables])


def notes_of(rows: Sequence[Mapping[str, Any]], score: str) -> list[str]:
    """What was done, and how the tables are to be read."""
    from gcvit.bench.published import WITH_SHIFTS
    from gcvit.bench.rows import machines

    made = rows[0]["budget"]
    deep = ", as many blocks as in the paper" if made["deep"] else ""
    notes = [
        f"{made['task']}, {made['data'] or 'the built-in pictures'}; {made['steps']:,} steps of {made['batch_size']} "
        f"pictures, peak rate {made['optim']['lr']:g}, {made['img_size']} px, width {made['dim']}{deep}",
        f"on {machines(rows)}",
        f"{score} in %, mean ± deviation over seeds; step: points above the row before (Table 4) or above GC ViT-T",
        f"(others), paired over seeds; *: p < {SURE:g}, Student's t, two-sided, not corrected for the number of tests;",
        "no p where all seeds are alike; bits: log2 of the classes less the cross-entropy; same way: as the paper's",
        "step, of the full models.",
    ]
    if score in WITH_SHIFTS and any(row["arm"] == "table_4_no_shift" for row in rows):
        swins = f"{WITH_SHIFTS[score]} with shifts, not the table's Swin-T"
        notes.append(f"w/o window shifting is of Swin's own ablation: the step as published is from its {swins}.")
    return notes


def columns_of(score: str) -> list[str]:
    """Headings of a table."""
    measured = [score, "step", "p", "step, paper", "same way", "bits", "step in bits", "p"]
    return ["", "name", *(f">{name}" for name in ("parameters", "MMACs", "seeds", *measured))]


def cells_of(step: Step) -> list[str]:
    """A row of a table."""
    return [
        *(step.method, step.arm, f"{step.parameters:,}", f"{step.macs / 1e6:.1f}", str(step.seeds)),
        _shown(step.score, 100, ".2f"),
        *_with_p(step.step, 100, "+.2f"),
        "–" if step.published is None else f"{step.published:+.1f}",
        {None: "–", True: "yes", False: "no"}[step.agrees],
        _shown(step.bits, 1, ".3f"),
        *_with_p(step.bits_step, 1, "+.3f"),
    ]


def _with_p(found: Measured | None, unit: float, shape: str) -> list[str]:
    if found is None or found.p is None:
        return [_shown(found, unit, shape), "–"]
    return [f"{_shown(found, unit, shape)}{'*' if found.p < SURE else ''}", f"{found.p:.3f}"]


def _shown(found: Measured | None, unit: float, shape: str) -> str:
    if found is None:
        return "–"
    spread = "" if found.deviation is None else f" ± {unit * found.deviation:{shape.removeprefix('+')}}"
    return f"{unit * found.mean:{shape.replace('.', 'z.')}}{spread}"


def write(folder: Path, found: Sequence[Step], parts: Sequence[str]) -> None:
    """ablations.md, and the figure where there is something to compare with."""
    write_page(parts, folder / "ablations.md")
    if compared := [step for step in found if step.step and step.published is not None]:
        from gcvit.bench.ablations_figure import draw

        write_figure(draw(compared), folder / "ablations")
