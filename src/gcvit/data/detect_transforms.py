"""From a picture and its objects to tensors: one geometry for picture, boxes and masks, random for training."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from gcvit.data.objects import Objects
from gcvit.data.pixels import SMALLEST, Picture
from gcvit.data.segment_transforms import Channels, Size, normalised, pixels_of, resized_pixels, resized_to


def seen_at(size: Sequence[int], short: int, long: int) -> Size:
    """The size at which a picture of `size` is seen: as large as may be with its sides up to these, but no side below
    32 pixels, so that a very long picture loses its shape."""
    height, width = resized_to(size, (long, short))
    return max(height, SMALLEST), max(width, SMALLEST)


def seen_within(size: Sequence[int], room: Size) -> Size:
    """The same where its height and width are up to those of `room`."""
    scale = min(room[0] / size[0], room[1] / size[1])
    height, width = (min(max(int(side * scale + 0.5), SMALLEST), most) for side, most in zip(size, room, strict=True))
    return height, width


class Detectable(NamedTuple):
    """A picture and its objects as a detector learns from them.

    image: float32 (channels, height, width), normalised. boxes: float32 (objects, 4), left, top, right, lower edge,
    inside the picture, in its pixels. labels: int64 (objects). masks: uint8 (objects, height, width), 0 or 1; None
    where the data have none.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    masks: Tensor | None


@dataclass(frozen=True)
class EvalDetection:
    """A picture as a detector sees it in evaluation: resized, normalised, whole.

    short, long: the picture is as large as may be with its short and its long side up to these, in pixels.
    mean, std: per channel, on a scale of 0 to 1.
    room: the picture is as large as its height and width go into this instead; None: as `short` and `long` say.
    """

    short: int
    long: int
    mean: Channels = IMAGENET_DEFAULT_MEAN
    std: Channels = IMAGENET_DEFAULT_STD
    room: Size | None = None

    def __call__(self, picture: Picture) -> Tensor:
        """A picture as float32 (channels, height, width)."""
        pixels = pixels_of(picture)
        return normalised(resized_pixels(pixels, self.seen(pixels.shape[1:])), self.mean, self.std)

    def seen(self, size: Sequence[int]) -> Size:
        """The size at which a picture of `size` is seen."""
        return seen_at(size, self.short, self.long) if self.room is None else seen_within(size, self.room)


@dataclass(frozen=True)
class TrainDetection:
    """A picture and its objects, varied as for published detectors: flipped; then resized, or resized, cut and resized.

    short: sizes of which the short side takes one, in pixels, as far as the long side allows.
    long: largest size of the long side.
    hflip: probability of a left-right flip.
    cut: probability of the cut.
    before: sizes of which the short side takes one before the cut.
    sides: range of the cut's height and of its width, in pixels; a smaller picture is not cut.
    mean, std: per channel, on a scale of 0 to 1.
    masks: whether masks are wanted; they are made if the data have them.
    """

    short: tuple[int, ...]
    long: int
    hflip: float = 0.5
    cut: float = 0.5
    before: tuple[int, ...] = (400, 500, 600)
    sides: tuple[int, int] = (384, 600)
    mean: Channels = IMAGENET_DEFAULT_MEAN
    std: Channels = IMAGENET_DEFAULT_STD
    masks: bool = True

    def __call__(self, picture: Picture, objects: Objects) -> Detectable:
        """A picture and its objects, varied. Objects that the cut leaves nothing of are gone.

        Draws from the global generator of `random`.
        """
        pixels = pixels_of(picture)
        shape = _Shape(pixels, torch.from_numpy(objects.boxes), torch.arange(len(objects)))
        shape = shape.cut(0, 0, *pixels.shape[1:])
        if random.random() < self.hflip:
            shape = shape.flipped()
        if random.random() < self.cut:
            shape = shape.resized(random.choice(self.before), self.long)
            height, width = (random.randint(min(side, self.sides[0]), min(side, self.sides[1])) for side in shape.size)
            top, left = random.randint(0, shape.size[0] - height), random.randint(0, shape.size[1] - width)
            shape = shape.cut(top, left, height, width)
        shape = shape.resized(random.choice(self.short), self.long)
        kept = objects.chosen(shape.kept.numpy())
        masks = torch.from_numpy(kept.bitmaps()) if self.masks and kept.masks is not None else None
        return Detectable(
            image=normalised(shape.pixels, self.mean, self.std),
            boxes=shape.boxes,
            labels=torch.from_numpy(kept.labels),
            masks=None if masks is None else shape.moved(masks),
        )


class _Axis(NamedTuple):
    """Where the pixels of one axis come from: what is now at p was at step · p + start, in the original's pixels."""

    step: float = 1.0
    start: float = 0.0

    def flipped(self, side: int) -> "_Axis":
        return _Axis(-self.step, self.step * side + self.start)

    def resized(self, old: int, new: int) -> "_Axis":
        return _Axis(self.step * old / new, self.start)

    def cut(self, first: int) -> "_Axis":
        return _Axis(self.step, self.step * first + self.start)

    def origins(self, side: int, original: int) -> Tensor:
        """The original's pixel in which the centre of each pixel lies."""
        places = (torch.arange(side, dtype=torch.float64) + 0.5) * self.step + self.start
        return places.floor().long().clamp(0, original - 1)


class _Shape(NamedTuple):
    """A picture, uint8 (3, height, width), and the boxes of its objects, while they are moved together.

    kept: the numbers of the objects that are left. down, across: where the rows and columns come from. Masks are moved
    once, at the end: from step to step their edges would be rounded again and again.
    """

    pixels: Tensor
    boxes: Tensor
    kept: Tensor
    down: _Axis = _Axis()
    across: _Axis = _Axis()

    @property
    def size(self) -> Size:
        return self.pixels.shape[1], self.pixels.shape[2]

    def flipped(self) -> "_Shape":
        width = self.size[1]
        left, top, right, below = self.boxes.unbind(1)
        boxes = torch.stack([width - right, top, width - left, below], dim=1)
        return self._replace(pixels=self.pixels.flip(2), boxes=boxes, across=self.across.flipped(width))

    def resized(self, short: int, long: int) -> "_Shape":
        """At another size; boxes by the true ratio of each axis, which rounding makes a little different."""
        (height, width), size = self.size, seen_at(self.size, short, long)
        down, across = size[0] / height, size[1] / width
        return self._replace(
            pixels=resized_pixels(self.pixels, size),
            boxes=self.boxes * torch.tensor([across, down, across, down]),
            down=self.down.resized(height, size[0]),
            across=self.across.resized(width, size[1]),
        )

    def cut(self, top: int, left: int, height: int, width: int) -> "_Shape":
        """A part, with the objects of which something lies in it. Boxes are cut, not drawn anew around their masks."""
        boxes = self.boxes - torch.tensor([left, top, left, top])
        boxes = torch.stack([boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)], dim=2).flatten(1)
        inside = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
        pixels = self.pixels[:, top : top + height, left : left + width]
        return _Shape(pixels, boxes[inside], self.kept[inside], self.down.cut(top), self.across.cut(left))

    def moved(self, masks: Tensor) -> Tensor:
        """Masks of the original picture, (objects, height, width), as they are in this one."""
        rows = self.down.origins(self.size[0], masks.shape[1])
        columns = self.across.origins(self.size[1], masks.shape[2])
        return masks.index_select(1, rows).index_select(2, columns)
