"""A table of the paper beside what we count: parameters and multiply-accumulates of models with heads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from gcvit.bench.cost import parameters
from gcvit.bench.paper_cost import padding_macs, paper_macs
from gcvit.model import GCViT
from gcvit.model.config import Pair


@dataclass(frozen=True)
class Published:
    """A line of a table: the backbone, the window sides with which its figures come out, and those figures: parameters
    in millions and multiply-accumulates in thousand millions, if it has them."""

    model: str
    windows: tuple[int, ...]
    parameters: int
    gmacs: int | None


@dataclass(frozen=True)
class Row:
    """One model's cost. macs: in the papers' counter, `paper_macs`, without what GC ViT computes of padding outside
    attention; macs_as_run: with it."""

    published: Published
    parameters: int
    macs: int
    macs_as_run: int


Names = Mapping[str, Callable[[Row], str]]


def count(line: Published, model: nn.Module, forward: nn.Module, size: Pair) -> Row:
    """Count a model on the meta device; nothing is computed but shapes.

    model: with a `backbone`. forward: what it computes of one image of `size` (height, width) in pixels.
    """
    run, backbone = paper_macs(forward.eval(), size), model.get_submodule("backbone")
    padding = padding_macs(backbone.config, size) if isinstance(backbone, GCViT) else 0
    return Row(line, parameters(model), run - padding, run)


def table(found: Sequence[Row], names: Names) -> tuple[list[str], list[list[str]]]:
    """Headings and cells for people; a heading that starts with ">" is one of numbers. names: the columns that say
    which model it is."""
    columns: list[tuple[str, Callable[[Row], str]]] = [
        *names.items(),
        (">M", lambda row: f"{row.parameters / 1e6:.2f}"),
        (">paper", lambda row: str(row.published.parameters)),
        (">Δ", lambda row: _apart(row.parameters / 1e6, row.published.parameters)),
        (">GMACs", lambda row: f"{row.macs / 1e9:.1f}"),
        (">paper", lambda row: str(row.published.gmacs or "–")),
        (">Δ", lambda row: _apart(row.macs / 1e9, row.published.gmacs)),
        (">as run", lambda row: f"{row.macs_as_run / 1e9:.1f}"),
    ]
    return [name for name, _ in columns], [[cell(row) for _, cell in columns] for row in found]


def _apart(found: float, published: float | None) -> str:
    if published is None:
        return ""
    return f"{round(100 * (found / published - 1), 1) + 0.0:+.1f}%"  # no minus before a zero
