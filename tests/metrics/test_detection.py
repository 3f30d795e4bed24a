"""COCO's figures, against pycocotools and against what they mean."""

import contextlib
import copy
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from gcvit.data import masks as mask
from gcvit.data.objects import Objects
from gcvit.metrics.detection import AREAS, DetectionFigures, Result, coco_results, measure
from gcvit.metrics.matches import intervals

SIZE = (150, 130)


def boxes(draw: np.random.Generator, count: int) -> np.ndarray:
    corner = draw.random((count, 2)) * (100, 110)
    return np.concatenate([corner, 1 + draw.random((count, 2)) ** 3 * (125, 110)], axis=1).round(2)


def rectangles(xywh: np.ndarray) -> tuple[bytes, ...]:
    return tuple(mask.rectangle(box, SIZE) for box in xywh.tolist())


def picture(draw: np.random.Generator, position: int, classes: int = 4, most: int = 6, noise: float = 4) -> Result:
    """Some objects, some of them found again, a little off, twice or as something else; and others that are not."""
    xywh = boxes(draw, int(draw.integers(0, most)))
    labels = draw.integers(0, classes - 1, len(xywh))  # the last class never occurs
    masks = rectangles(xywh)
    truth = Objects(SIZE, xywh, labels, draw.random(len(xywh)) < 0.1, mask.areas(masks, SIZE), masks)
    again = draw.permutation(np.repeat(np.arange(len(xywh)), draw.integers(0, 3, len(xywh))))
    near = np.abs(xywh[again] + noise * draw.standard_normal((len(again), 4)))
    as_what = np.where(draw.random(len(again)) < 0.8, labels[again], draw.integers(0, classes, len(again)))
    others = boxes(draw, int(draw.integers(0, 4)))
    found = np.concatenate([near, others])
    found_labels = np.concatenate([as_what, draw.integers(0, classes, len(others))])
    scores = draw.random(len(found)).round(1)  # with ties
    return Result(position, truth, found, scores, found_labels, rectangles(found))


def pictures(seed: int, count: int = 12, **settings: float) -> list[Result]:
    draw = np.random.default_rng(seed)
    return [picture(draw, position, **settings) for position in range(count)]  # type: ignore[arg-type]


def by_pycocotools(results: list[Result], kind: str, classes: int = 4, most: int = 100) -> COCOeval:
    """The same through files as others would read them."""
    images = [{"id": 10 + one.position, "height": SIZE[0], "width": SIZE[1]} for one in results]
    annotations: list[dict] = []
    for one in results:
        for row in range(len(one.truth)):
            counts = {"size": list(SIZE), "counts": one.truth.masks[row].decode()}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 10 + one.position,
                    "category_id": 3 + int(one.truth.labels[row]),
                    "bbox": one.truth.xywh[row].tolist(),
                    "iscrowd": int(one.truth.crowd[row]),
                    "area": float(one.truth.areas[row]),
                    "segmentation": counts,
                }
            )
    categories = [{"id": 3 + label, "name": str(label)} for label in range(classes)]
    found = coco_results(results, lambda position: 10 + position, lambda label: 3 + label)[kind == "mask"]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": images, "annotations": annotations, "categories": categories, "info": {}}
        truth.createIndex()
        theirs = COCOeval(truth, truth.loadRes(copy.deepcopy(found)), "bbox" if kind == "box" else "segm")
        theirs.params.maxDets = [1, 10, most]
        theirs.evaluate()
        theirs.accumulate()
        if most == 100:
            theirs.summarize()
    return theirs


def check_equal(figures: DetectionFigures, theirs: COCOeval) -> None:
    assert np.array_equal(figures.precision, theirs.eval["precision"])
    assert np.array_equal(figures.recall, theirs.eval["recall"])


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from(["box", "mask"]))
def test_every_figure_is_pycocotools_own(seed, kind):
    results = pictures(seed)
    if not any(len(one.scores) for one in results):
        return
    figures, theirs = measure(results, 4, kind), by_pycocotools(results, kind)
    check_equal(figures, theirs)
    said = [-1.0 if value is None else value for value in figures.metrics.values()]
    assert said == theirs.stats.tolist()
    for label in range(4):
        known = theirs.eval["precision"][:, :, label, 0, -1]
        assert figures.per_class_ap[label] == (known.mean() if known[0, 0] > -1 else None)


@pytest.mark.parametrize("most", [15, 300])
def test_another_number_of_detections(most):
    results = pictures(5, count=4, most=40)
    figures = measure(results, 4, most=most)
    check_equal(figures, by_pycocotools(results, "box", most=most))
    assert figures.ap is not None
    assert list(figures.metrics)[6:9] == ["ar1", "ar10", f"ar{most}"]


def test_shares_of_processes_add_up_in_any_order():
    results = pictures(7)
    together = sorted([*results[1::2], *results[::2]], key=lambda one: one.position)
    assert measure(together, 4).metrics == measure(results, 4).metrics


def test_what_is_not_there_has_no_figure():
    none = np.zeros(0)
    results = [
        one._replace(xywh=none.reshape(0, 4), scores=none, labels=none.astype(int), masks=()) for one in pictures(1)
    ]
    figures = measure(results, 4, "mask")
    assert (figures.ap, figures.ap50) == (0.0, 0.0)
    assert figures.per_class_ap[3] is None
    assert figures.curve(3) is None
    assert sum(one.missed for one in figures.images) == sum(figures.objects)
    nothing = [one._replace(truth=one.truth.chosen(np.zeros(len(one.truth), bool))) for one in results]
    empty = measure(nothing, 4)
    assert set(empty.metrics.values()) == {None}
    assert empty.curve() is None
    assert empty.images[0].f1 is None
    assert np.isnan(intervals(empty.matches, 3)["ap"].low)
    assert set(measure(nothing, 0).metrics.values()) == {None}
    with pytest.raises(ValueError, match="no pictures"):
        measure([], 4)
    with pytest.raises(ValueError, match="no masks"):
        measure([results[0]._replace(masks=None)], 4, "mask")


def perfect(seed: int) -> list[Result]:
    def told(one: Result) -> Result:
        kept = one.truth.chosen(~one.truth.crowd)
        return Result(one.position, kept, kept.xywh, np.full(len(kept), 0.9), kept.labels, kept.masks)

    return [told(one) for one in pictures(seed)]


def test_errors_by_kind():
    results = perfect(3)
    figures = measure(results, 4, "mask")
    assert figures.ap == pytest.approx(1)
    assert all(share == (0, 0) for share in figures.errors.values())
    assert all(one.f1 in (None, 1) for one in figures.images)
    wrong = [one._replace(labels=(one.labels + 1) % 3) for one in results]
    errors = measure(wrong, 4).errors
    assert errors["class"].number > 0
    assert errors["class"].cost > 0.5
    far = [one._replace(xywh=one.xywh + np.array([2000, 0, 0, 0])) for one in results]
    errors = measure(far, 4).errors
    count = sum(len(one.truth) for one in results)
    assert (errors["background"].number, errors["missed"].number) == (count, count)
    half = [one._replace(xywh=one.xywh * (1, 1, 1, 0.3)) for one in results]
    assert measure(half, 4).errors["place"].number > count / 2
    twice = [
        one._replace(
            masks=None,
            xywh=np.concatenate([one.xywh, one.xywh]),
            scores=np.concatenate([one.scores, one.scores / 2]),
            labels=np.concatenate([one.labels, one.labels]),
        )
        for one in results
    ]
    assert measure(twice, 4).errors["double"].number == count


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_a_picture_that_is_drawn_twice_counts_as_two(seed):
    """The weighted figures are those of pictures that are really there so many times."""
    results = [one._replace(scores=np.sort(one.scores)[::-1] + one.position / 1e6) for one in pictures(seed)]
    results = [one._replace(scores=one.scores + np.arange(len(one.scores))[::-1] / 1e4) for one in results]  # no ties
    times = np.random.default_rng(seed).integers(0, 4, len(results))
    really = [results[at] for at in np.repeat(np.arange(len(results)), times).tolist()]
    if not really:
        return
    copies = measure([one._replace(position=at) for at, one in enumerate(really)], 4)
    weighted = measure(results, 4).matches.figures(times)
    if copies.ap is None:
        assert np.isnan(weighted["ap"])
    else:
        assert weighted == pytest.approx({"ap": copies.ap, "ap50": copies.ap50, "ap75": copies.ap75}, abs=1e-9)


def test_intervals_hold_the_figure():
    good = measure(pictures(4, 60, noise=2), 4)
    found = intervals(good.matches)
    assert found["ap"].value == pytest.approx(good.ap, abs=1e-12)
    assert found["ap"].low < good.ap < found["ap"].high
    assert found == intervals(good.matches)


def test_an_interval_is_as_wide_as_new_pictures_differ():
    """1.96 deviations to each side. (Were pictures drawn once at most, it would be a quarter too small.)"""
    sets = [measure(pictures(seed, 80, noise=2), 4) for seed in range(100, 140)]
    spread = np.std([found.ap for found in sets], ddof=1)
    found = [intervals(one.matches, 60)["ap"] for one in sets[:12]]
    assert 0.85 < np.mean([one.high - one.low for one in found]) / (2 * 1.96 * spread) < 1.2


def test_curves_fall_and_areas_have_their_own():
    figures = measure(pictures(11, 40), 4)
    curve = figures.curve(0)
    assert curve.shape == (101,)
    assert (np.diff(curve) <= 0).all()
    assert figures.curve().shape == (101,)
    assert len({figures.ap_of(area) for area in AREAS}) == 4
