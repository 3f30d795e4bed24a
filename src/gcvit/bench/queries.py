"""What a trained model uses its global queries for: its score with another picture's, with an average, with none."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gcvit.bench.report import Grid, Page
from gcvit.errors import UserError
from gcvit.model import GCViT, GCViTConfig
from gcvit.model.config import WITHOUT_QUERY
from gcvit.tasks.backbone import backbone_of
from gcvit.tasks.evaluate import evaluate
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import HeldOut

KINDS = {
    "another's": "that of another picture, the one before in the batch",
    "mean": "the mean over the batch",
    "shuffled": "its own, with its tokens in another order, the same for all pictures",
    "zero": "zeros",
}


def kinds_in(config: GCViTConfig) -> dict[str, str]:
    """KINDS, with what zeros do in such a model: as queries, or where values are made of them, which are then the same
    for every token, zero or a linear layer's bias."""
    asked = "attention by the position bias alone" if config.position_bias else "attention to all tokens alike"
    does = {kind: asked if kind == "global" else "every token gets the same" for kind in config.blocks}
    said = dict.fromkeys(text for kind, text in does.items() if kind not in WITHOUT_QUERY)
    return KINDS | {"zero": f"zeros: {', or '.join(said)}"}


@dataclass(frozen=True)
class Replaced:
    """What a model reaches with other queries. kind: one of KINDS; stages: counted from 0, whose queries they are.
    score: the task's, 0 to 1, with the model's own it was `whole`."""

    kind: str
    stages: tuple[int, ...]
    score: float
    whole: float


class _Replacement:
    """A forward hook for a query generator: what takes the place of (batch, heads, tokens, head_dim)."""

    def __init__(self, kind: str) -> None:
        self.kind, self.last = kind, torch.empty(0)

    def __call__(self, module: nn.Module, given: Any, query: Tensor) -> Tensor:
        if self.kind == "zero":
            return torch.zeros_like(query)
        if self.kind == "mean":
            return query.mean(0, keepdim=True).expand_as(query)
        if self.kind == "shuffled":
            order = torch.randperm(query.shape[2], generator=torch.Generator().manual_seed(0))
            return query[:, :, order.to(query.device)]
        before = self.last if self.last.shape == query[-1:].shape else query[-1:]
        self.last = query[-1:].clone()
        return torch.cat([before, query[:-1]])


@contextmanager
def other_queries(backbone: GCViT, stages: Sequence[int], kind: str) -> Iterator[None]:
    """While it lasts, these stages' global queries are others (see KINDS)."""
    hooks = []
    for stage in stages:
        generator = backbone.stages[stage].query
        assert generator is not None
        hooks.append(generator.register_forward_hook(_Replacement(kind)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def measure_queries(
    opened: Opened,
    held_out: HeldOut,
    *,
    batch_size: int = 32,
    device: str = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Replaced]:
    """The score with each kind of other query, of each stage alone and of all together.

    progress: called with (pictures done, all), of all evaluations. Raises UserError for a model without global queries,
    and for an exported one, into which nobody can reach.
    """
    if opened.exported:
        raise UserError(f"{opened.source} is an exported file, whose queries cannot be replaced; give its checkpoint")
    backbone = backbone_of(opened.folded)
    if backbone.config.generators == 0:
        raise UserError(f"{opened.source} has no global queries: its blocks are {', '.join(backbone.config.blocks)}")
    if len(held_out.pictures) < 2:
        raise UserError("with less than two pictures there is no other one's query")
    stages = range(len(backbone.stages))
    sets = [*((stage,) for stage in stages), tuple(stages)]
    each, found = len(held_out.pictures), list[Replaced]()

    def score(before: int) -> float:
        total = each * (1 + len(KINDS) * len(sets))
        measured = evaluate(
            opened,
            held_out,
            batch_size=batch_size,
            device=device,
            precision="fp32",
            progress=lambda done, _: progress(each * before + done, total),
        )
        return measured.evaluation.metrics[opened.task.score] or 0.0

    whole = score(0)
    for kind in KINDS:
        for chosen in sets:
            with other_queries(backbone, chosen, kind):
                found.append(Replaced(kind, chosen, score(1 + len(found)), whole))
    return found


def page(name: str, opened: Opened, held_out: HeldOut, found: Sequence[Replaced]) -> Page:
    """A row for each kind of other query, a column for each stage and one for all. name: of the model, for a person."""
    whole = f"{100 * found[0].whole:.1f}%, with its own"
    facts = [("model", name), ("data", held_out.described), (opened.task.curves[opened.task.score], whole)]
    columns = list(dict.fromkeys(row.stages for row in found))
    headings = [f">stage {stages[0] + 1}" if len(stages) == 1 else ">all" for stages in columns]
    rows = [[kind, *(f"{100 * row.score:.1f}%" for row in found if row.kind == kind)] for kind in KINDS]
    meanings = list(kinds_in(backbone_of(opened.folded).config).items())
    return Page("", [Grid("", ["queries", *headings], rows)], facts=facts, meanings=meanings)
