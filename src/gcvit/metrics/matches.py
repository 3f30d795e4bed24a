"""Which detections match an object, picture by picture, and what that tells of how far an average precision may be off:
the pictures are drawn again and again, with replacement (a bootstrap)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

_RECALLS = np.linspace(0.0, 1.0, 101)
_NAMES = ("ap", "ap50", "ap75")


class Interval(NamedTuple):
    """A figure and its 95% interval."""

    value: float
    low: float
    high: float


class _Class(NamedTuple):
    """The detections of a class, the surest first, and its objects.

    image: of each detection, as a number. scores: of each. right, wrong: bool (10, detections), at IoU .5 … .95; those
    that are neither do not count. objects: in each image, int64.
    """

    image: np.ndarray
    scores: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    objects: np.ndarray


@dataclass(frozen=True, eq=False)
class Matches:
    """The matches of all classes. positions: of the pictures in the data, in the order in which they are numbered."""

    positions: list[int]
    classes: list[_Class]

    @staticmethod
    def of(found: Iterable[Sequence[Mapping[str, Any]]], positions: Sequence[int]) -> "Matches":
        """From what COCO's evaluation says, for each class, of the pictures with objects or detections of it."""
        return Matches(list(positions), [_gathered(ones, len(positions)) for ones in found])

    def figures(self, weights: np.ndarray | None = None) -> dict[str, float]:
        """ "ap", "ap50" and "ap75", with each picture counted so many times; NaN where there is no object."""
        weights = np.ones(len(self.positions), np.int64) if weights is None else weights
        rows = [row for one in self.classes if (row := _precisions(one, weights)) is not None]
        if not rows:
            return dict.fromkeys(_NAMES, float("nan"))
        means = np.mean(rows, axis=0)
        return {"ap": float(means.mean()), "ap50": float(means[0]), "ap75": float(means[5])}

    def judged(self, sure: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """At IoU .5, of each picture: right and wrong detections of a score of at least `sure`, and missed objects."""
        count = len(self.positions)
        right, wrong, objects = (np.zeros(count, np.int64) for _ in range(3))
        for one in self.classes:
            told = one.scores >= sure
            right += np.bincount(one.image[told & one.right[0]], minlength=count)
            wrong += np.bincount(one.image[told & one.wrong[0]], minlength=count)
            objects += one.objects
        return right, wrong, objects - right


def intervals(matches: Matches, draws: int = 200, seed: int = 0) -> dict[str, Interval]:
    """How far "ap", "ap50" and "ap75" may be off, by the pictures that happened to be there."""
    rng, count = np.random.Generator(np.random.PCG64(seed)), len(matches.positions)
    drawn = []
    for _ in range(draws):
        times = np.bincount((rng.random(count) * count).astype(np.int64), minlength=count)  # how often each is drawn
        drawn.append(matches.figures(times))
    found = {}
    for name, value in matches.figures().items():
        low, high = np.nanquantile([one[name] for one in drawn], (0.025, 0.975)) if value == value else (value, value)
        found[name] = Interval(value, float(low), float(high))
    return found


def _gathered(ones: Sequence[Mapping[str, Any]], count: int) -> _Class:
    """The class of these pictures together."""
    if not ones:
        none = np.zeros((10, 0), bool)
        return _Class(np.zeros(0, np.int64), np.zeros(0), none, none, np.zeros(count, np.int64))
    image = np.concatenate([np.full(len(one["dtScores"]), one["image_id"] - 1) for one in ones])
    scores = np.concatenate([np.asarray(one["dtScores"], np.float64) for one in ones])
    matched, ignored = (
        np.concatenate([np.asarray(one[name], bool).reshape(10, -1) for one in ones], axis=1)
        for name in ("dtMatched", "dtIgnore")
    )
    objects = np.zeros(count, np.int64)
    for one in ones:
        objects[one["image_id"] - 1] = len(one["gtIgnore"]) - sum(map(bool, one["gtIgnore"]))
    order = np.argsort(-scores, kind="mergesort")
    matched, ignored = matched[:, order], ignored[:, order]
    return _Class(image[order], scores[order], matched & ~ignored, ~matched & ~ignored, objects)


def _precisions(one: _Class, weights: np.ndarray) -> np.ndarray | None:
    """AP of a class at each IoU, (10,), as pycocotools accumulates it; None without objects."""
    objects = int((one.objects * weights).sum())
    if not objects:
        return None
    times = weights[one.image]
    right, wrong = (np.cumsum(part * times, axis=1, dtype=np.float64) for part in (one.right, one.wrong))
    precision = right / (right + wrong + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    found = np.zeros((10, len(_RECALLS)))
    for row, (recall, at) in enumerate(zip(right / objects, precision, strict=True)):
        places = np.searchsorted(recall, _RECALLS, side="left")
        reached = places < len(at)
        found[row, reached] = at[places[reached]]
    return found.mean(1)
