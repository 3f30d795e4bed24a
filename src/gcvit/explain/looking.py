"""One picture, looked at once: every map of it follows from one traced pass, which is kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gcvit.errors import UserError
from gcvit.explain.attention import BlockAttention, PlaneMap, query_token, token_at
from gcvit.explain.cam import class_map
from gcvit.explain.rollout import class_rollout, rollout
from gcvit.explain.settings import Cam, HeadOrMean, Kind, Place
from gcvit.model.config import STAGES, Pair
from gcvit.model.gcvit import GCViT, Position, Through, Trace
from gcvit.model.layers import LayerScale
from gcvit.model.windows import grid
from gcvit.tasks.backbone import backbone_of
from gcvit.tasks.opened import Given, Opened, read
from gcvit.tasks.target import Target, find_target

MAPPED = ("local", "global")  # kinds of blocks
Query = Float[Tensor, "rows columns channels"]
Wanted = str | int | None  # a target's name or its number in `Look.targets`; None: the likeliest
By = Literal["maps", "values", "attention"]  # what gradients are taken by


class Split(NamedTuple):
    """A gradient in its two parts, which add up to it. values: what came through values (and keys, and convolutions),
    with every query held fixed. queries: the rest, what passed at least one query, local or global."""

    values: Tensor
    queries: Tensor


def look(opened: Opened, picture: Given) -> "Look":
    """Look at a picture as the model does in prediction: prepared the same way, on the model's device and in its type.

    picture: a file or a picture itself (see `Opened.predict`). Raises UserError for one that cannot be read, and for an
    exported file, whose inside cannot be seen.
    """
    require_visible(opened)
    seen = opened.task.transform(opened, opened.task.looks())(read(picture, opened.pixels))
    return Look(opened, seen)


def require_visible(opened: Opened) -> None:
    """Raise UserError for models whose inside cannot be seen: exported files and folded copies."""
    if opened.exported:
        raise UserError(
            f"{opened.source} is an exported file, whose inside cannot be seen; explain the checkpoint it was made of"
        )
    if backbone_of(opened.model).folded:
        raise UserError("a folded copy is for inference; explain the model that it was folded from")


class Look:
    """What a model sees in one picture. Everything is computed when it is first asked for, and kept.

    image: (1, channels, height, width), as it goes through the model, of any size that this takes. Stages, blocks,
    heads and tokens are counted from 0, as in `GCViT.trace`; a block is (stage, block). Places are (x, y) in pixels of
    the image. All maps are detached, on the CPU. The model stays as it is: its mode, its gradients, its hooks.
    """

    def __init__(self, opened: Opened, image: Tensor) -> None:
        require_visible(opened)
        self.opened, self.model = opened, opened.model
        self.backbone: GCViT = backbone_of(self.model)
        weight = next(self.backbone.parameters())
        self.image = (image if image.ndim == 4 else image[None]).detach().to(weight)
        self.config = self.backbone.config
        self._blocks: dict[Position, BlockAttention] = {}
        self._slopes: dict[tuple[int, By], list[Tensor]] = {}

    @property
    def size(self) -> Pair:
        """(height, width) of the image in pixels."""
        return self.image.shape[2], self.image.shape[3]

    @property
    def blocks(self) -> list[Position]:
        """All blocks."""
        return [(stage, block) for stage in range(STAGES) for block in range(self.config.depths[stage])]

    @property
    def mapped(self) -> list[Position]:
        """The blocks whose attention has maps: those that attend to the tokens of a window where it lies. All, but in
        ablations with shifted windows and with keys or values that the generator makes."""
        return [(stage, block) for stage, block in self.blocks if self.config.block_kinds[stage][block] in MAPPED]

    def seen(self) -> np.ndarray:
        """The image as the model sees it, for people: uint8 (height, width, 3), or of the mean of other channels."""
        prepared = self.opened.preprocessing
        mean, std = (self.image.new_tensor(values)[:, None, None] for values in (prepared.mean, prepared.std))
        pixels = (self.image[0] * std + mean).clamp(0, 1)
        if len(pixels) != 3:
            pixels = pixels.mean(0, keepdim=True).expand(3, -1, -1)
        return (255 * pixels).round().byte().permute(1, 2, 0).cpu().numpy()

    @property
    def trace(self) -> Trace:
        """One pass with gradients: logits, maps, queries, attention of every block."""
        return self._pass.trace

    @property
    def targets(self) -> list[Target]:
        """What can be asked about the picture: classes, or objects; the likeliest first."""
        return self._pass.targets

    def target(self, wanted: Wanted = None) -> Target:
        """One of them. Raises UserError where there is none."""
        return self.targets[find_target(self.targets, wanted)]

    # Attention.

    def block(self, at: Position | None = None) -> BlockAttention:
        """The attention of a block; None: of `default_block`. Raises UserError for a block that is not there, and for
        one that is not `mapped`."""
        at = self.default_block() if at is None else at
        if at not in self._blocks:
            if at not in self.blocks:
                raise UserError(f"there is no block {at}; stages and blocks are counted from 0, {self.config.depths}")
            (stage, block), maps = at, self.trace.maps
            if at not in self.mapped:
                kind = self.config.block_kinds[stage][block]
                raise UserError(
                    f"block {block} of stage {stage} is {kind}: it does not attend to a window's own tokens where they "
                    "lie, so there is no map of it; there are class maps, and the split"
                )
            traced = self.backbone.stages[stage].blocks[block]
            attention, scale, project = traced.attention, traced.scale1, traced.attention.proj.weight.detach()
            if isinstance(scale, LayerScale):
                project = scale.gamma.detach()[:, None] * project
            given = self.trace.values[at].detach()[0]
            lengths = torch.einsum("nhtd,chd->nhtc", given, project.unflatten(1, (attention.heads, -1))).norm(dim=-1)
            self._blocks[at] = BlockAttention(
                self.trace.attention[at].detach()[0].cpu(),
                self.trace.logsumexp[at].detach()[0].cpu(),
                lengths.cpu(),
                self.config.block_kinds[stage][block] == "global",
                self.config.stage_windows[stage],
                (maps[stage].shape[2], maps[stage].shape[3]),
            )
        return self._blocks[at]

    def windowed_stage(self) -> int:
        """The last stage that has several windows at the size that the model is set up for; where none has, the first.
        Class maps are the finest there that say anything."""
        sizes, windows = self.config.map_sizes, self.config.stage_windows
        return max((s for s in range(STAGES) if grid(sizes[s], windows[s]) != (1, 1)), default=0)

    def default_block(self) -> Position:
        """The last global block of the stage after `windowed_stage`: the queries of earlier ones light what contrasts,
        before anything is learned too, and after the last stage's nothing is asked any more (docs/results.md)."""
        return self.last_block(min(self.windowed_stage() + 1, STAGES - 1))

    def last_block(self, stage: int) -> Position:
        """A stage's last global block, or its last local one where it has no global ones. Raises UserError where it has
        neither."""
        kinds = self.config.block_kinds[stage]
        for wanted in ("global", "local"):
            if wanted in kinds:
                return stage, max(number for number, kind in enumerate(kinds) if kind == wanted)
        raise UserError(f"stage {stage} has neither local nor global blocks, and maps are of these")

    def attention(
        self, at: Position | None = None, kind: Kind = "image", head: HeadOrMean = None, place: Place | None = None
    ) -> PlaneMap:
        """What the tokens of a block find in the picture (`BlockAttention.map`): the global query's token that stands
        for `place`, or all in the mean. In a local block, what the token at `place` reads in its window."""
        block = self.block(at)
        if place is None:
            return block.map(kind, head)
        if not block.shared:
            return self.reads(place, at, head)
        return block.map(kind, head, query_token(place, self.size, block.window))

    def reads(self, place: Place, at: Position | None = None, head: HeadOrMean = None) -> PlaneMap:
        """What the token at a place reads in its window; 0 elsewhere."""
        block = self.block(at)
        return block.reads(token_at(place, self.size, block.size), head)

    def read_by(self, place: Place, at: Position | None = None, head: HeadOrMean = None) -> PlaneMap:
        """Who reads the token at a place: the tokens of its window, 0 to 1; 0 elsewhere."""
        block = self.block(at)
        return block.read_by(token_at(place, self.size, block.size), head)

    def rollout(self, stage: int = 0, wanted: Wanted = None, *, by_class: bool = False) -> PlaneMap:
        """How much each token of a stage's input has in the last map, along values alone (`gcvit.explain.rollout`).

        by_class: the class-specific form, for the target `wanted`.
        """
        self.check_stage(stage)
        stages = [[self.block((s, b)) for b in range(depth)] for s, depth in enumerate(self.config.depths)]
        if not by_class:
            return rollout(stages)[stage]
        found = self._slopes_of(find_target(self.targets, wanted), "attention")
        slopes = dict(zip(self.blocks, found, strict=True))
        rows = [[slopes[s, b] for b in range(depth)] for s, depth in enumerate(self.config.depths)]
        return class_rollout(stages, rows)[stage]

    # Global queries.

    def query(self, stage: int) -> Query:
        """The tokens of a stage's global query: (rows, columns, channels), heads one after the other. Raises UserError
        for a model without generators."""
        self.check_stage(stage)
        if not self.trace.queries:
            raise UserError("this model has no global queries")
        query = self.trace.queries[stage].detach()[0].cpu()
        return query.transpose(0, 1).flatten(1).unflatten(0, self.config.stage_windows[stage])

    # Classes and objects.

    def cam(self, wanted: Wanted = None, stage: int = 2, kind: Cam = "grad-cam") -> PlaneMap:
        """The class activation map of a stage for a target (`gcvit.explain.cam`); eigen-cam asks for none."""
        self.check_stage(stage)
        activations = self.trace.maps[stage].detach()[0].cpu()
        gradient = None if kind == "eigen-cam" else self.gradient(wanted, stage)
        return class_map(kind, activations, gradient)

    def gradient(self, wanted: Wanted = None, stage: int = 2) -> Float[Tensor, "channels rows columns"]:
        """Of a target's score by a stage's map."""
        self.check_stage(stage)
        return self._slopes_of(find_target(self.targets, wanted), "maps")[stage]

    def split(self, wanted: Wanted = None, stage: int | None = None) -> Split:
        """The gradient of a target's score by a stage's map, or by the image (None), in two parts that add up to it:
        through values, and through queries. (channels, rows, columns) each.

        Through values is the gradient with the queries of all blocks detached, from a second pass; the rest is the
        difference. In the map of the last stage, which only the head follows, nothing is left to split: its queries'
        part is 0. Costs a pass and a gradient for each target.
        """
        if stage is not None:
            self.check_stage(stage)
        number = find_target(self.targets, wanted)
        if stage is None:
            done = (self._pass, self._through_values)
            whole, values = (_gradients(one.targets[number].score, [one.image])[0][0].cpu() for one in done)
        else:
            whole, values = (self._slopes_of(number, by)[stage] for by in ("maps", "values"))
        return Split(values, queries=whole - values)

    def _slopes_of(self, number: int, by: By) -> list[Tensor]:
        """Of a target's score: by each stage's map, through everything or through values alone, or by each block's
        attention."""
        if (number, by) not in self._slopes:
            done = self._through_values if by == "values" else self._pass
            wanted = list(done.trace.attention.values()) if by == "attention" else done.trace.maps
            self._slopes[number, by] = [x[0].cpu() for x in _gradients(done.targets[number].score, wanted)]
        return self._slopes[number, by]

    @cached_property
    def _pass(self) -> "_Pass":
        return self._passed(True)

    @cached_property
    def _through_values(self) -> "_Pass":
        return self._passed("values")

    def _passed(self, through: Through) -> "_Pass":
        with evaluating(self.model), torch.inference_mode(False), torch.enable_grad():
            image = self.image.clone().requires_grad_()
            trace = self.backbone.trace(image, "all", through=through)
            return _Pass(image, trace, self.opened.task.targets(self.opened, self.model, trace.maps, self.size))

    def forget(self) -> None:
        """Let go of the passes, the largest part of what is kept; they are made again for what is asked next."""
        for kept in ("_pass", "_through_values"):
            self.__dict__.pop(kept, None)

    def check_stage(self, stage: int) -> None:
        """Raise UserError for a stage that is not there."""
        if not 0 <= stage < STAGES:
            raise UserError(f"there is no stage {stage}; they are counted from 0 to {STAGES - 1}")


class _Pass(NamedTuple):
    image: Tensor
    trace: Trace
    targets: list[Target]


def _gradients(score: Callable[[], Tensor], by: list[Tensor]) -> list[Tensor]:
    """Of a scalar, 0 where it does not depend on something; parameters keep what gradients they have."""
    with torch.inference_mode(False), torch.enable_grad():
        slopes = torch.autograd.grad(score(), by, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if slope is None else slope for x, slope in zip(by, slopes, strict=True)]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode; each of its modules is put back."""
    modes = {module: module.training for module in model.modules() if module.training}
    if modes:
        model.eval()
    try:
        yield
    finally:
        for module in modes:
            module.training = True
