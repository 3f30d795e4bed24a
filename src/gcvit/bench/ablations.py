"""Tables 4, 5 and S.2, and what the paper leaves open, trained in small: does each of the paper's steps help, in the
paper's direction? All rows have the same pictures, steps and recipe, and costs that stand to each other as the paper's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log, log2
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from gcvit.bench.ablation_rows import ABLATION_TABLES, OURS, PAPER, TableName, ablation_lines, arms_of, check_arms
from gcvit.bench.cost import macs, parameters
from gcvit.bench.from_scratch import build_fresh, train_once
from gcvit.bench.published import WITH_SHIFTS, Line
from gcvit.bench.report import Say
from gcvit.bench.settings import AblationBudget
from gcvit.bench.study import RESULTS, Rows, made_on
from gcvit.data.images import ImageError
from gcvit.data.shapes import draw_built_in
from gcvit.engine.config import as_dict
from gcvit.engine.device import resolve_device
from gcvit.engine.loop import TrainingDiverged
from gcvit.errors import UserError
from gcvit.files import require_folder
from gcvit.metrics.significance import t_test
from gcvit.model import VARIANTS
from gcvit.shell import typed
from gcvit.tasks import task_named
from gcvit.tasks.ablations import ABLATIONS
from gcvit.tasks.backbone import backbone_of
from gcvit.tasks.config import ArchConfig, RunConfig
from gcvit.tasks.task import Data, Task

LOGS = "logs"
KEYS = ("arm", "seed", "parameters", "macs", "score", "bits")  # of a line
BAD_IMAGE = "`{doctor}` finds all such images: with them mended the same command goes on, without them take a new --out"
WARMUP = "10%"  # the recipes' own are made for runs of their length

# What the paper's models become in small; all else of a row is what the paper changes.
#
#                GC ViT-T        here, at 64 px          Swin-T        here, at 64 px
#   width        64              16                      96            24
#   depths       3, 4, 19, 5     3, 4, 10, 5             2, 2, 6, 2    2, 2, 2, 2
#   heads        2, 4, 8, 16     the same                3, 6, 12, 24  the same
#   MLP ratio    3               the same                4             the same
#   windows      7, 7, 14, 7     4, 4, 4, 2              7, 7, 7, 7    4, 4, 2, 2
#   MMACs        4,550, 4,760    16.0, 17.8              4,490         16.0
#
# A quarter of the width is affordable on a processor. Stage 3, where the paper's two differ most in depth, gives up
# blocks so that their costs stay within 1% of each other, as they are at full size. Windows are the published share of
# the picture, at least 4 tokens a side where the map has as many: with maps of 16, 8, 4 and 2 tokens stage 1 has 16 of
# them, stage 2 has 4, and stages 3 and 4 are one, as at 224 px. Swin's leave four in stage 3, as there.
DEPTHS: dict[tuple[int, ...], tuple[int, ...]] = {(3, 4, 19, 5): (3, 4, 10, 5), (2, 2, 6, 2): (2, 2, 2, 2)}


@dataclass(frozen=True)
class Study:
    """How a task's runs are sized. score: the published column. steps: of a run of 1 to 2 minutes of one core. size: of
    what the model sees, a side in pixels. sized: the recipe's configuration with another size. lr: peak learning rate,
    where the recipe's is not for models as deep as these."""

    score: str
    steps: int
    size: int
    sized: Callable[[Any, int], RunConfig]
    lr: float | None = None


STUDIES: dict[str, Study] = {
    # At the recipe's 2e-3, for 8 blocks, the 22 of GC ViT in small leave chance late or not at all.
    "classify": Study("top-1", 500, 64, lambda config, size: config, lr=5e-4),
    "segment": Study("mIoU", 1200, 96, lambda config, size: _augmented(config, crop=(size, size))),
    "detect": Study(
        "AP box", 300, 128, lambda config, size: _augmented(replace(config, size=size, scene_size=size), short=(size,))
    ),
}


def _augmented(config: Any, **changes: object) -> RunConfig:
    return replace(config, augment=replace(config.augment, **changes))


def settings(task: Task, budget: AblationBudget, data: str | None, device: str = "auto", workers: int = 0) -> RunConfig:
    """The configuration of all runs but for the arm and the seed: the task's small recipe without drop path, measured
    once, after the last step."""
    study, recipe = STUDIES[task.name], task.recipes[next(iter(task.own_recipe or task.recipes))].config()
    size, steps = budget.size or study.size, budget.steps or study.steps
    config = study.sized(recipe, size)
    return replace(
        config,
        model=OURS,
        img_size=size,
        data=data,
        drop_path=0.0,
        epochs=None,
        steps=steps,
        eval_every=steps,
        batch_size=budget.batch_size or config.batch_size,
        optim=replace(config.optim, lr=budget.lr or study.lr or config.optim.lr, warmup=WARMUP),
        device=device,
        workers=workers,
    )


def in_small(config: RunConfig, arm: str, budget: AblationBudget) -> RunConfig:
    """The runs' configuration with the model of a row."""
    changes = dict(ABLATIONS[arm].changes) if arm in ABLATIONS else {}
    sevens = changes.pop("windows", None) is not None  # in the paper's rows 7, 7, 7, 7
    row, ours = replace(VARIANTS[OURS], **changes), VARIANTS[OURS]
    assert isinstance(config.img_size, int)
    square = replace(ours, img_size=(config.img_size, config.img_size))
    first, second, third, fourth = (side for side, _ in square.stage_windows)
    changes["dim"] = row.dim * budget.dim // ours.dim
    changes["depths"] = row.depths if budget.deep else DEPTHS[row.depths]
    windows = (first, second, third // 2 if sevens else third, fourth)
    return replace(config, windows=windows, arch=ArchConfig(**changes))


def run_ablations(
    folder: Path,
    task: str,
    budget: AblationBudget,
    *,
    data: str | None = None,
    arms: Sequence[str] = (),
    seeds: int = 3,
    device: str = "auto",
    workers: int = 0,
    progress: Say = lambda text: None,
) -> list[dict[str, Any]]:
    """Train each arm with seeds 0, 1, …, all of a seed before the next, so that a stop leaves whole seeds; each run
    becomes a line of `folder`/results.jsonl, and what is there already is not run again. Returns all of its lines.

    data: as `gcvit train TASK --data` takes it; None: the built-in pictures. arms: rows of the tables by name; none:
    all that the paper has. progress: told what is going on, with the time left.

    A line has arm, seed; parameters and macs (of one picture) of the classifier or the backbone; score (0 … 1: top-1,
    mIoU or box AP); bits, log2 of the classes less the cross-entropy of held-out pictures or pixels, None where that is
    not measured; seconds; machine; budget. Raises UserError for an unknown arm, a folder that cannot be written to, a
    file of another budget, a picture that cannot be read, and a loss that is no number any more; KeyboardInterrupt says
    what is kept.
    """
    check_arms(arms, tuple(ABLATION_TABLES))
    found = task_named(task)
    config = settings(found, budget, data, device, workers)
    fixed = {key: value for key, value in as_dict(config).items() if key not in config.free}
    where = resolve_device(device)  # on whose kind the precision depends
    fixed |= {"task": task, "dim": budget.dim, "deep": budget.deep, "data": data, "device": where.type}
    rows = Rows(folder / RESULTS, fixed, KEYS)
    require_folder(folder / LOGS)
    (folder / LOGS).mkdir(exist_ok=True)
    opened = dict[int, Data]()
    order = dict.fromkeys(((arm, seed) for seed in range(seeds) for arm in (arms or arms_of(PAPER))), 1)
    with rows.stoppable():
        for (arm, seed), said in rows.left(order):
            seeded = replace(config, seed=seed)
            divided = seed if found.divides(config) else 0  # by it the pictures are divided, where the data are not
            if divided not in opened:
                opened = {divided: _open(found, seeded)}
            progress(said)
            try:
                row = one_run(found, arm, budget, seeded, opened[divided], folder / LOGS / f"{arm}-{seed}.jsonl")
            except TrainingDiverged as error:
                way_out = f"give another --out with --lr below {config.optim.lr:g}, or --arms without it"
                raise UserError(f"{arm}, seed {seed}: {error}; {way_out}") from error
            except ImageError as error:
                doctor = typed(["gcvit", "doctor", Path(data or "")])
                raise UserError(f"{arm}, seed {seed}: {error}. {BAD_IMAGE.format(doctor=doctor)}") from error
            rows.add({"arm": arm, "seed": seed, **row, "machine": made_on(where)})
    return rows.rows


def _open(task: Task, config: RunConfig) -> Data:
    data = task.open_data(config)
    if config.workers:  # which would each draw all of them
        draw_built_in(data.train, iter)
        draw_built_in(data.held_out, iter)
    return data


def one_run(
    task: Task, arm: str, budget: AblationBudget, config: RunConfig, data: Data, log_path: Path
) -> dict[str, Any]:
    """Train and measure. config: of `settings`, with a seed."""
    config = in_small(config, arm, budget)
    opened = build_fresh(task, config, data)
    assert config.img_size is not None
    backbone = backbone_of(opened.model)  # the heads are alike, and cost far more
    cost = {"parameters": parameters(backbone), "macs": macs(backbone, config.img_size)}
    result = train_once(opened, config, data, log_path)
    bits = None if result.loss is None else log2(len(data.classes)) - result.loss / log(2)
    return {**cost, "score": result.score, "bits": bits, "seconds": round(result.seconds, 1)}


class Measured(NamedTuple):
    """A mean over seeds. deviation: over them, None for one. p: of a difference, that of Student's t test, two-sided,
    that there is none."""

    mean: float
    deviation: float | None
    p: float | None = None


@dataclass(frozen=True)
class Step:
    """A row of a table, over all its seeds.

    method: as printed. score: 0 … 1. step, bits_step: how much more score and bits are than those of the row `before`,
    paired over the seeds that both have. published: the difference between the two as published, in points: the
    paper's, or where it has one of them of Swin's ablation, of that. What is not there is None.
    """

    table: TableName
    method: str
    arm: str
    seeds: int
    parameters: int
    macs: int
    score: Measured
    bits: Measured | None
    before: str | None
    step: Measured | None
    bits_step: Measured | None
    published: float | None

    @property
    def agrees(self) -> bool | None:
        """Whether the step has the direction of the paper's; None where one is not there or, being 0, has none."""
        here = round(self.step.mean, 9) if self.step else 0.0  # less is rounding
        return here * self.published > 0 if here and self.published else None


def steps_of(rows: Sequence[Mapping[str, Any]], tables: Sequence[TableName] = tuple(ABLATION_TABLES)) -> list[Step]:
    """What the lines of a file say, by table."""
    return [
        _step(table, line, _before(table, line, lines), rows)
        for table in tables
        for lines in [ablation_lines(table)]
        for line in lines
        if any(row["arm"] == line.model for row in rows)
    ]


def _before(table: TableName, line: Line, lines: Sequence[Line]) -> Line | None:
    """What a row is compared with: in Table 4 the row before it, of those that the paper has; elsewhere ours."""
    others = [one for one in lines[: lines.index(line)] if one.values] if table == "4" else lines
    return others[-1] if others and others[-1] != line else None


def _step(table: TableName, line: Line, before: Line | None, rows: Sequence[Mapping[str, Any]]) -> Step:
    column = STUDIES[rows[0]["budget"]["task"]].score
    runs, others = ({row["seed"]: row for row in rows if one and row["arm"] == one.model} for one in (line, before))
    pairs = [(row, others[seed]) for seed, row in runs.items() if seed in others]
    printed = [one.values.get(column) if one else None for one in (line, before)]
    if line.model == "table_4_no_shift":
        printed[1] = WITH_SHIFTS.get(column, printed[1])
    row = next(iter(runs.values()))

    def more(key: str) -> Measured | None:
        steps = [ours[key] - theirs[key] for ours, theirs in pairs if ours[key] is not None]
        return _measured(steps, t_test(steps))

    return Step(
        *(table, line.method, str(line.model), len(runs), row["parameters"], row["macs"]),
        score=_measured([row["score"] for row in runs.values()]),  # type: ignore[arg-type]
        bits=_measured([row["bits"] for row in runs.values() if row["bits"] is not None]),
        before=before.model if before else None,
        step=more("score"),
        bits_step=more("bits"),
        published=None if None in printed else round(printed[0] - printed[1], 2),  # type: ignore[operator]
    )


def _measured(values: Sequence[float], p: float | None = None) -> Measured | None:
    return Measured(mean(values), stdev(values) if len(values) > 1 else None, p) if values else None
