"""Masks as COCO's files have them, polygons and run lengths, kept small: bitmaps are made only when they are asked for.

Everywhere else a mask is its counts: the bytes in which COCO compresses the run lengths of a bitmap.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import hotcoco.mask as rle
import numpy as np

from gcvit.data.images import MAX_PIXELS

NONE, POLYGONS, COUNTS = 0, 1, 2  # kinds of packed masks

Size = tuple[int, int]

FIFTHS = 5  # pycocotools draws polygons on a grid of fifths of a pixel: kept on it, they are exact in half the space
FARTHEST = 100_000  # pixels of a corner from the picture's
LONGEST_OUTLINE = 1_000_000  # pixels of all outlines of a mask, which are drawn point by point


class MaskError(ValueError):
    """A mask that cannot be read; the message says why."""


class Packed(NamedTuple):
    """A mask as it is kept. kind: NONE, POLYGONS or COUNTS. size: (height, width) that it says it has, or (0, 0)."""

    kind: int
    content: bytes
    size: Size = (0, 0)


def pack(segmentation: Any) -> Packed:
    """What an annotation has as its segmentation, checked. Raises MaskError."""
    if not segmentation:
        return Packed(NONE, b"")
    if isinstance(segmentation, list):
        return Packed(POLYGONS, _pack_polygons(segmentation))
    if isinstance(segmentation, dict):
        return _pack_runs(segmentation)
    raise MaskError("neither polygons nor run lengths")


def unpack(mask: Packed, size: Size) -> bytes:
    """The counts of a packed mask in a picture of this size, (height, width); of none: an empty one."""
    if mask.kind == COUNTS:
        return mask.content
    if mask.kind == NONE:
        return rle.encode(np.zeros(size, np.uint8, order="F"))["counts"]
    parts = [rle.fr_poly(part, *size) for part in polygons(mask.content)]
    return (parts[0] if len(parts) == 1 else rle.merge(parts))["counts"]


def rectangle(box: Sequence[float], size: Size) -> bytes:
    """The counts of a box, (x, y, width, height), in a picture of this size."""
    left, top, width, height = box
    right, below = min(left + width, size[1]), min(top + height, size[0])
    left, top = max(left, 0), max(top, 0)
    return rle.fr_bbox([left, top, max(right - left, 0), max(below - top, 0)], *size)["counts"]


def polygons(content: bytes) -> list[list[float]]:
    """The polygons in a packed mask, [x, y, x, y …] each, such that pycocotools draws them as it does the original."""
    numbers = np.frombuffer(content, np.int32)
    count = int(numbers[0])
    # It rounds by (int)(5·x + .5), which cuts off towards zero.
    places = np.where(numbers < 0, numbers - 0.75, numbers)[1 + count :] / FIFTHS
    return [part.tolist() for part in np.split(places, np.cumsum(numbers[1:count]))]


def corners(mask: Packed) -> tuple[float, float, float, float]:
    """The box around a packed mask, (x, y, width, height)."""
    if mask.kind == COUNTS:
        x, y, width, height = rle.to_bbox(_run(mask.content, mask.size)).tolist()
        return x, y, width, height
    points = np.concatenate([np.reshape(part, (-1, 2)) for part in polygons(mask.content)])
    (x, y), (right, below) = points.min(0).tolist(), points.max(0).tolist()
    return x, y, right - x, below - y


def encode(bitmaps: np.ndarray) -> tuple[bytes, ...]:
    """The counts of bitmaps, bool or uint8 (masks, height, width)."""
    return tuple(rle.encode(np.asfortranarray(bitmap, dtype=np.uint8))["counts"] for bitmap in bitmaps)


def decode(masks: Sequence[bytes], size: Size) -> np.ndarray:
    """The bitmaps of counts, uint8 (masks, height, width), 0 or 1."""
    bitmaps = np.zeros((len(masks), *size), np.uint8)
    for bitmap, counts in zip(bitmaps, masks, strict=True):
        bitmap[:] = rle.decode(_run(counts, size))
    return bitmaps


def areas(masks: Sequence[bytes], size: Size) -> np.ndarray:
    """Pixels of each mask, float64."""
    return np.array([rle.area(_run(counts, size)) for counts in masks], np.float64)


def boxes(masks: Sequence[bytes], size: Size) -> np.ndarray:
    """The box around each mask, (x, y, width, height), float64; zeros for an empty one."""
    return np.array([rle.to_bbox(_run(counts, size)) for counts in masks], np.float64).reshape(-1, 4)


def runs(counts: bytes) -> np.ndarray:
    """The run lengths that compressed counts stand for, int64. Raises MaskError for bytes that no run lengths give."""
    letters = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(letters):
        return letters
    last = (letters & 0x20) == 0  # of the letters of a number, which has 5 bits in each
    if letters.min() < 0 or letters.max() > 63 or not last[-1]:
        raise MaskError("its counts are no compressed run lengths")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise MaskError("a run of more pixels than any picture has")
    place = np.arange(len(letters)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((letters & 0x1F) << 5 * place, starts)
    numbers -= np.where(letters[ends] & 0x10, np.left_shift(1, 5 * lengths), 0)
    for parity in (1, 2):  # from the fourth on, they are told as differences to the one before the last
        numbers[parity::2] = np.cumsum(numbers[parity::2])
    return numbers


def _pack_polygons(parts: list[Any]) -> bytes:
    kept: list[np.ndarray] = []
    longest = 0.0  # that the outlines can be
    for part in parts:
        try:
            places = np.array(part)
        except (ValueError, TypeError, OverflowError):
            places = np.array("")
        if places.ndim != 1 or places.dtype.kind not in "if":
            raise MaskError("a polygon that is no list of numbers")
        if len(places) % 2:
            raise MaskError("a polygon of an odd number of coordinates")
        if len(places) < 6:  # a point or a line, which has no area
            continue
        farthest = np.abs(places).max()
        if not farthest <= FARTHEST:
            raise MaskError("a polygon with a corner that is not finite or far off")
        kept.append(np.trunc(places * FIFTHS + 0.5).astype(np.int32))
        longest += farthest * len(places)
    if not kept:
        raise MaskError("polygons of fewer than three corners")
    if longest > LONGEST_OUTLINE and _length(kept) > FIFTHS * LONGEST_OUTLINE:
        raise MaskError(f"polygons whose outline is longer than {LONGEST_OUTLINE:,} pixels")
    return np.concatenate([[len(kept)], [len(part) for part in kept], *kept], dtype=np.int32).tobytes()


def _length(parts: Sequence[np.ndarray]) -> int:
    """Steps on the grid along all outlines."""
    steps = (np.abs(np.diff(part.reshape(-1, 2), axis=0, append=part[None, :2])) for part in parts)
    return sum(int(step.max(1).sum()) for step in steps)


def _pack_runs(found: dict[str, Any]) -> Packed:
    size, counts = found.get("size"), found.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)):
        raise MaskError("its size is no height and width")
    height, width = size
    if height * width > MAX_PIXELS:
        raise MaskError(f"a size of more than {MAX_PIXELS:,} pixels")
    if isinstance(counts, str):
        try:
            content = counts.encode("ascii")
        except UnicodeEncodeError:
            raise MaskError("its counts are no compressed run lengths") from None
        numbers = runs(content)
    elif isinstance(counts, list):
        content, numbers = b"", np.array(counts if all(type(n) is int and 0 <= n <= MAX_PIXELS for n in counts) else -1)
    else:
        raise MaskError("run lengths without counts")
    if numbers.min(initial=0) < 0:
        raise MaskError("a run that is no number of pixels")
    if numbers.sum() != height * width:
        raise MaskError(f"its runs are {int(numbers.sum()):,} pixels, its size {height}×{width}")
    if not content:
        content = rle.fr_py_objects({"size": size, "counts": counts}, height, width)["counts"]
    return Packed(COUNTS, content, (height, width))


def _run(counts: bytes, size: Size) -> dict[str, Any]:
    return {"size": list(size), "counts": counts}
