"""What a model says of every pixel: of whole pictures or window by window, of several sizes and of mirror images.

Logits of all classes at a large picture's size may not fit into memory, so they are made for some classes at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import log
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from gcvit.model.config import SMALLEST_SIDE
from gcvit.tasks.segment.settings import Looks

Size = tuple[int, int]

VALUES = 2**25  # logits at full size that are made at once, 128 MiB
CROPS = 8  # windows that go through the model at once


class Pixels(NamedTuple):
    """Per pixel, at the picture's size. predicted: (batch, height, width) int16. finite: whether all logits are; None
    with labels, where losses tell. losses: cross-entropy, fp32; 0 where ignored, None without labels."""

    predicted: Tensor
    finite: Tensor | None
    losses: Tensor | None


def segment_pixels(model: nn.Module, images: Tensor, size: Size, looks: Looks, labels: Tensor | None = None) -> Pixels:
    """The likeliest class of each pixel at `size` of images (batch, channels, height, width), without holding all
    logits.

    labels: (batch, *size), any integers, negative where ignored.
    """
    best = predicted = normaliser = true = None
    finite = torch.ones((), dtype=torch.bool, device=images.device) if labels is None else None
    for first, logits in _by_classes(look(model, images, looks), size):
        top, at = logits.max(1)
        at = at + first
        if best is None or predicted is None:
            best, predicted = top, at
        else:
            predicted = torch.where(top > best, at, predicted)
            best = torch.maximum(top, best)
        if finite is not None:
            finite &= logits.isfinite().all()
        if labels is not None:
            part = logits.logsumexp(1)
            normaliser = part if normaliser is None else torch.logaddexp(normaliser, part)
            wanted = labels.long() - first
            here = (wanted >= 0) & (wanted < logits.shape[1])
            found = logits.gather(1, wanted.where(here, 0)[:, None])[:, 0]
            true = found.where(here, 0.0 if true is None else true)
    assert predicted is not None
    losses = None
    if labels is not None and normaliser is not None and true is not None:
        losses = (normaliser - true).where(labels >= 0, 0.0)
    return Pixels(predicted.short(), finite, losses)


class Tile(NamedTuple):
    """The model's logits (batch, classes, rows, columns) of the part of a picture from (top, left), of `size`."""

    top: int
    left: int
    size: Size
    logits: Tensor


@dataclass(frozen=True)
class View:
    """What the model said of a picture at one size, tile by tile.

    size: (height, width) of the picture as it was shown. mirrored: it was the mirror image.
    """

    size: Size
    tiles: list[Tile]
    mirrored: bool

    def logits(self, classes: slice, size: Size) -> Tensor:
        """Of some classes, (batch, classes, *size): averaged over tiles at the size that was shown, then resized."""
        if len(self.tiles) == 1:
            whole = _at_size(self.tiles[0].logits[:, classes], self.size)
        else:
            whole = self._averaged(classes)
        if self.mirrored:
            whole = whole.flip(3)
        return whole if size == self.size else interpolate(whole, size, mode="bilinear", align_corners=False)

    def _averaged(self, classes: slice) -> Tensor:
        first = self.tiles[0].logits[:, classes]
        total, tiles = first.new_zeros(*first.shape[:2], *self.size), first.new_zeros(self.size)
        for top, left, (height, width), logits in self.tiles:
            part = slice(top, top + height), slice(left, left + width)
            total[:, :, *part] += _at_size(logits[:, classes], (height, width))
            tiles[part] += 1
        return total / tiles


def look(model: nn.Module, images: Tensor, looks: Looks) -> list[View]:
    """What the model says of each scale and mirror image, at its own resolution."""
    views = []
    height, width = images.shape[-2:]
    for scale in looks.scales:
        size = max(1, round(height * scale)), max(1, round(width * scale))
        shown = images
        if size != (height, width):
            shown = interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        views.append(View(size, _tiles(model, shown, looks), mirrored=False))
        if looks.flip:
            views.append(View(size, _tiles(model, shown.flip(3), looks), mirrored=True))
    return views


def _tiles(model: nn.Module, images: Tensor, looks: Looks) -> list[Tile]:
    size = images.shape[-2], images.shape[-1]
    if looks.mode != "slide":
        return [Tile(0, 0, size, _logits(model, images))]
    height, width = (min(side, length) for side, length in zip(looks.window, size, strict=True))
    corners = list(product(*map(starts, size, looks.window, looks.steps)))
    at_once = max(1, CROPS // len(images))
    tiles = []
    for number in range(0, len(corners), at_once):
        some = corners[number : number + at_once]
        crops = torch.cat([images[:, :, top : top + height, left : left + width] for top, left in some])
        for (top, left), logits in zip(some, _logits(model, crops).split(len(images)), strict=True):
            tiles.append(Tile(top, left, (height, width), logits))
    return tiles


def starts(length: int, window: int, step: int) -> list[int]:
    """Where windows begin along a side: every `step` pixels, the last one flush with the edge."""
    return [*range(0, length - window, step), max(length - window, 0)]


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """The model's own, in fp32, of images that are made large enough for it."""
    height, width = images.shape[-2:]
    images = pad(images, (0, max(SMALLEST_SIDE - width, 0), 0, max(SMALLEST_SIDE - height, 0)))
    return model(images.contiguous(memory_format=torch.channels_last)).logits.float().contiguous()


def _at_size(logits: Tensor, size: Size) -> Tensor:
    """The model's logits at the size that it was shown.

    A cell stands for so many whole pixels, the last ones also for some beyond the edge, which are cut off.
    """
    grid = [cells * -(-max(side, SMALLEST_SIDE) // cells) for cells, side in zip(logits.shape[-2:], size, strict=True)]
    return interpolate(logits, grid, mode="bilinear", align_corners=False)[:, :, : size[0], : size[1]]


def _by_classes(views: Sequence[View], size: Size) -> Iterator[tuple[int, Tensor]]:
    """Logits of all views together at `size`, for some classes at a time: (the first of them, logits)."""
    batch, classes = views[0].tiles[0].logits.shape[:2]
    pixels = batch * max(height * width for height, width in (size, *(view.size for view in views)))
    step = max(1, VALUES // pixels)
    parts = [slice(first, first + step) for first in range(0, classes, step)]
    if len(views) == 1:
        yield from ((part.start, views[0].logits(part, size)) for part in parts)
        return
    normalisers = [_normaliser(view, parts, size) for view in views]
    for part in parts:
        merged = views[0].logits(part, size) - normalisers[0]
        for view, normaliser in zip(views[1:], normalisers[1:], strict=True):
            merged = torch.logaddexp(merged, view.logits(part, size) - normaliser)
        yield part.start, merged - log(len(views))


def _normaliser(view: View, parts: Sequence[slice], size: Size) -> Tensor:
    """The logarithm of softmax's denominator, (batch, 1, *size)."""
    total = view.logits(parts[0], size).logsumexp(1, keepdim=True)
    for part in parts[1:]:
        total = torch.logaddexp(total, view.logits(part, size).logsumexp(1, keepdim=True))
    return total
