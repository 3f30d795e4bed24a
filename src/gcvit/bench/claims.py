"""How far does a block see, and what travels? One stage of each design, or in the long form all four, learns puzzles
whose answer lies in another window, all with the same budget, steps and recipe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log, log2
from pathlib import Path
from statistics import mean, stdev
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gcvit.bench.cost import macs, parameters
from gcvit.bench.puzzles import DISTANCES, GRID, PATCH, PUZZLES, SIDE, WINDOW, Puzzle, Scenes, draw
from gcvit.bench.report import Say
from gcvit.bench.settings import PuzzleBudget
from gcvit.bench.study import RESULTS, Rows, made_on
from gcvit.engine.device import resolve_device, threads_for
from gcvit.engine.loop import seed_everything
from gcvit.engine.schedule import learning_rate
from gcvit.errors import UserError
from gcvit.metrics.significance import t_test
from gcvit.model.ablations import PatchStem
from gcvit.model.config import GCViTConfig
from gcvit.model.gcvit import Stage
from gcvit.model.windows import split

KEYS = ("puzzle", "arm", "seed", "parameters", "macs", "accuracy", "bits")  # of a line
TOKENS = WINDOW // PATCH  # a window's side
LARGER = 4  # the long form's pictures, so that a window still has 2×2 tokens in its last stage
WARMUP, CLIP, WEIGHT_DECAY, BETAS = 0.1, 1.0, 0.01, (0.9, 0.99)
TRAINING, HELD_OUT = 0, 1  # in the keys of scenes


@dataclass(frozen=True)
class Arm:
    """A design. does: in a few words. changes: fields of `GCViTConfig`. depth: blocks, of each stage. everywhere: one
    window is the whole map."""

    does: str
    changes: Mapping[str, Any]
    depth: int = 2
    everywhere: bool = False


NO_SQUEEZE = {"squeeze_excite": False}
ARMS = {
    "gcvit": Arm("a local block, then global queries", {}),
    "gcvit_no_squeeze": Arm("the same, no squeeze-excite", NO_SQUEEZE),
    "kv": Arm("a local block, then global keys and values", {"blocks": ("local", "global_kv")}),
    "kv_no_squeeze": Arm("the same, no squeeze-excite", {"blocks": ("local", "global_kv")} | NO_SQUEEZE),
    "v": Arm("a local block, then global values", {"blocks": ("local", "global_v")}),
    "v_no_squeeze": Arm("the same, no squeeze-excite", {"blocks": ("local", "global_v")} | NO_SQUEEZE),
    "swin_4": Arm("local and shifted windows, 4 blocks", {"blocks": ("local", "shifted")}, 4),
    "swin_8": Arm("local and shifted windows, 8 blocks", {"blocks": ("local", "shifted")}, 8),
    "full": Arm("every token attends to all", {"blocks": ("local", "local")}, everywhere=True),
    "local": Arm("two local blocks", {"blocks": ("local", "local")}),
}


class Solver(nn.Module):
    """Patches, stages, and a linear answer from the mean of each window's tokens. Nothing but the arm's blocks and
    their query generators sees beyond a window: patches do not overlap, nor do those that are merged between the
    stages, and in every stage a window is one of the puzzle's. Linear layers begin as torch makes them, by their
    inputs: at this width GC ViT's 0.02 would be a tenth of that.

    sides: of a window in tokens, at each stage: one stage, or in the long form four.
    """

    stages: Sequence[Stage]

    def __init__(self, arm: Arm, dim: int, answers: int, *, long: bool) -> None:
        super().__init__()
        self.larger = LARGER if long else 1
        self.sides = [self.larger * TOKENS >> stage for stage in range(4 if long else 1)]
        windows = [GRID * side if arm.everywhere else side for side in self.sides]
        self.config = GCViTConfig(
            **arm.changes,
            dim=dim,
            depths=(arm.depth,) * 4,
            heads=tuple((dim << stage) // 16 for stage in range(4)),
            windows=tuple((side, side) for side in (windows if long else windows * 4)),
            img_size=(self.larger * SIDE,) * 2,
            downsampler="patch_merging" if long else "mbconv",  # which one stage does not have
        )
        self.stem = PatchStem(3, dim)
        self.stages = nn.ModuleList(  # type: ignore[assignment]  # typed as what it holds
            Stage(self.config, stage, [0.0] * arm.depth) for stage in range(len(self.sides))
        )
        self.stages[-1].downsample = nn.Identity()
        width = self.config.channels[len(self.sides) - 1]
        self.norm = nn.LayerNorm(width)
        self.answer = nn.Linear(width, answers)

    def forward(self, pictures: Float[Tensor, "pictures 3 64 64"]) -> Float[Tensor, "pictures windows answers"]:
        x = self.stem(F.interpolate(pictures, scale_factor=self.larger))  # each pixel a square
        for stage in self.stages:
            x = stage.downsample(stage(x))
        tokens = split(self.norm(x), (self.sides[-1],) * 2)
        return self.answer(tokens.mean(2))


def run_claims(
    folder: Path,
    budget: PuzzleBudget,
    *,
    puzzles: Sequence[str] = tuple(PUZZLES),
    arms: Sequence[str] = tuple(ARMS),
    seeds: int = 3,
    device: str = "auto",
    progress: Say = lambda text: None,
) -> list[dict[str, Any]]:
    """Train each arm on each puzzle with seeds 0, 1, …, all of a seed before the next, so that a stop leaves whole
    seeds; each run becomes a line of `folder`/results.jsonl, and what is there already is not run again. Returns all of
    its lines. progress: told what is going on, with the time left.

    A line has puzzle, arm, seed; parameters and macs (of one picture); accuracy (0 … 1) and bits, log2 of the answers
    less the cross-entropy, at each of DISTANCES; seconds; machine; budget.
    Raises UserError for a folder that cannot be written to, a file of another budget, and a loss that is no number any
    more; KeyboardInterrupt says what is kept.
    """
    where = resolve_device(device)
    kept = {name: value for name, value in asdict(budget).items() if name != "long" or value}  # older files lack it
    rows = Rows(folder / RESULTS, kept, KEYS)
    order = [(puzzle, arm, seed) for seed in range(seeds) for puzzle in puzzles for arm in arms]
    with rows.stoppable():
        for (puzzle, arm, seed), said in rows.left({run: ARMS[run[1]].depth for run in order}):
            progress(said)
            row = one_run(PUZZLES[puzzle], ARMS[arm], budget, seed, where)
            rows.add({"puzzle": puzzle, "arm": arm, "seed": seed, **row, "machine": made_on(where)})
    return rows.rows


def one_run(puzzle: Puzzle, arm: Arm, budget: PuzzleBudget, seed: int, device: torch.device) -> dict[str, Any]:
    """Train and measure."""
    start = perf_counter()
    seed_everything(seed)
    model = Solver(arm, budget.dim, puzzle.answers, long=budget.long).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), budget.lr, BETAS, weight_decay=WEIGHT_DECAY, fused=True)
    warmup = round(WARMUP * budget.steps)
    with threads_for(model, budget.batch_size * (model.larger * SIDE) ** 2, device):
        for step in range(budget.steps):
            rate = learning_rate(step + 1, steps=budget.steps + 1, peak=budget.lr, warmup_steps=warmup, floor=0.0)
            optimiser.param_groups[0]["lr"] = rate
            scenes = draw(puzzle, budget.batch_size, TRAINING, seed, step).to(device)
            far = scenes.distances > 0
            loss = F.cross_entropy(model(scenes.paint())[far], scenes.answers[far])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimiser.step()
        if not loss.isfinite():
            raise UserError(
                f"the loss became {loss.item()} ({arm.does}); give another --out with --lr below {budget.lr:g}"
            )
        found = measure(model, draw(puzzle, budget.scenes, HELD_OUT, seed), budget.batch_size, device)
    size = {"parameters": parameters(model), "macs": macs(model, SIDE)}
    return {**size, **found, "seconds": round(perf_counter() - start, 1)}


@torch.no_grad()
def measure(model: Solver, scenes: Scenes, batch_size: int, device: torch.device) -> dict[str, list[float]]:
    """Accuracy and bits at each distance, of scenes shown with every cue."""
    kinds, right, nats, far = scenes.puzzle.answers, [], [], []
    for part in scenes.with_every_cue().cut(batch_size):
        part = part.to(device)
        logits = model.eval()(part.paint())
        right.append(logits.argmax(-1) == part.answers)
        nats.append(F.cross_entropy(logits.double().transpose(1, 2), part.answers, reduction="none"))
        far.append(part.distances)
    hits, losses, distances = torch.cat(right).double(), torch.cat(nats), torch.cat(far)
    at = [distances == distance for distance in DISTANCES]
    return {
        "accuracy": [hits[here].mean().item() for here in at],
        "bits": [log2(kinds) - losses[here].mean().item() / log(2) for here in at],
    }


@dataclass(frozen=True)
class Line:
    """All seeds of one arm at one distance. accuracy, deviation (over seeds, None for one): shares. bits: mean. p: that
    it is chance; p_first: that it is what the first arm reaches with the same seeds; None where that cannot be said."""

    puzzle: str
    arm: str
    distance: int
    seeds: int
    parameters: int
    macs: int
    accuracy: float
    deviation: float | None
    bits: float
    p: float | None
    p_first: float | None


def lines(rows: Sequence[Mapping[str, Any]]) -> list[Line]:
    """What a results file says, in the order of PUZZLES, ARMS and DISTANCES; the first arm is the first of these that
    is there."""
    found = []
    for puzzle in PUZZLES:
        own = [row for row in rows if row["puzzle"] == puzzle]
        arms = [arm for arm in ARMS if any(row["arm"] == arm for row in own)]
        for arm in arms:
            runs, first = ({row["seed"]: row for row in own if row["arm"] == name} for name in (arm, arms[0]))
            for place, distance in enumerate(DISTANCES):
                shares = {seed: row["accuracy"][place] for seed, row in runs.items()}
                beyond = [share - first[seed]["accuracy"][place] for seed, share in shares.items() if seed in first]
                row = next(iter(runs.values()))
                found.append(
                    Line(
                        *(puzzle, arm, distance, len(runs), row["parameters"], row["macs"]),
                        accuracy=mean(shares.values()),
                        deviation=stdev(shares.values()) if len(shares) > 1 else None,
                        bits=mean(row["bits"][place] for row in runs.values()),
                        p=t_test([*shares.values()], 1 / PUZZLES[puzzle].answers),
                        p_first=None if arm == arms[0] else t_test(beyond),
                    )
                )
    return found
