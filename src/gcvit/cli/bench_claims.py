"""`gcvit bench claims`: how far a block sees, and what travels between windows, tried on puzzles."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, get_args

from tyro.conf import OmitArgPrefixes

from gcvit.bench.settings import ArmName, PuzzleBudget, PuzzleName
from gcvit.cli.arguments import parse
from gcvit.cli.output import flags_of, longer, next_steps, show_study, status
from gcvit.engine.fields import Range
from gcvit.errors import require


@dataclass(frozen=True)
class Claims:
    """Train one stage of each design (--long: four) on puzzles whose answer lies in another window, and compare.

    As it stands it takes 20 minutes of one core, and --steps, --dim and --batch-size make that hours of a GPU. Started
    again, it does what is left.
    """

    out: Path = Path("claims")
    """a folder for results.jsonl, a line a run, and for what is made of it: claims.md and pictures"""
    puzzles: tuple[PuzzleName, ...] = get_args(PuzzleName)
    """name one of the target's own two blobs; a far colour where there are blobs; the same where there is nothing"""
    arms: tuple[ArmName, ...] = get_args(ArmName)
    """what the blocks attend with"""
    seeds: Annotated[int, Range(1, 1000)] = 3
    """runs of each arm on each puzzle"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N"""
    budget: OmitArgPrefixes[PuzzleBudget] = field(default_factory=PuzzleBudget)

    def __post_init__(self) -> None:
        """Raises UserError for no puzzle and for no arm. What is named twice is meant once."""
        for name in ("puzzles", "arms"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
            require(len(getattr(self, name)) > 0, f"--{name}", getattr(self, name), "at least one")


def run(argv: Sequence[str]) -> None:
    """Train what is left, and show all that is in the results."""
    arguments = parse(Claims, "bench claims", argv)
    from gcvit.bench.claims import lines, run_claims
    from gcvit.bench.claims_page import draw, page

    with status() as progress:
        rows = run_claims(
            arguments.out,
            arguments.budget,
            puzzles=arguments.puzzles,
            arms=arguments.arms,
            seeds=arguments.seeds,
            device=arguments.device,
            progress=progress,
        )
    show_study(page(rows), draw(lines(rows)), arguments.out, "claims")
    again = longer(arguments, arguments.budget.steps)
    next_steps(["gcvit", "bench", "claims", *flags_of(again, Claims())], ["gcvit", "tables", "context"])
