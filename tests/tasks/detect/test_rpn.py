"""Proposals and the RPN's losses against loops over numbers."""

import math

import pytest
import torch

from gcvit.data.sampling import derive_seed
from gcvit.tasks.detect.boxes import has_area
from gcvit.tasks.detect.matching import draw
from gcvit.tasks.detect.objects import Targets
from gcvit.tasks.detect.rpn import RPN, STRIDES, Level, anchors
from gcvit.tasks.detect.settings import HeadConfig
from tasks.detect import scalar
from tasks.detect.building import SMALL, random_objects

ONES = (1.0,) * 4


def levels(size: tuple[int, int], seed: int, spread: float = 0.5, scale: float = 8.0) -> list[Level]:
    """Of a picture, with random answers, many of which are equal."""
    generator, found = torch.Generator().manual_seed(seed), []
    for stride in STRIDES:
        start = anchors(
            (-(-size[0] // stride), -(-size[1] // stride)), stride, scale, torch.zeros((), dtype=torch.float64)
        )
        logits = torch.randint(-20, 20, (len(start),), generator=generator).double() / 10
        deltas = spread * torch.randn(len(start), 4, generator=generator, dtype=torch.float64)
        found.append(Level(start, logits, deltas))
    return found


def as_defined(some: list[Level], size: tuple[int, int], candidates: int, number: int) -> list[list[float]]:
    every = []
    for level in some:
        order = sorted(range(len(level.logits)), key=lambda at: -level.logits[at].item())[:candidates]
        boxes = [
            scalar.clip(scalar.decode(level.anchors[at].tolist(), level.deltas[at].tolist(), ONES), size)
            for at in order
        ]
        scores = [level.logits[at].item() for at in order]
        real = [at for at, box in enumerate(boxes) if box[2] > box[0] and box[3] > box[1]]
        boxes, scores = [boxes[at] for at in real], [scores[at] for at in real]
        every += [(scores[at], boxes[at]) for at in scalar.nms(boxes, scores, 0.7)]
    return [box for _, box in sorted(every, key=lambda pair: -pair[0])[:number]]


@pytest.mark.parametrize(("training", "number"), [(True, 30), (False, 12), (False, 10_000)])
def test_proposals(training: bool, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (37, 52)
    monkeypatch.setattr("gcvit.tasks.detect.rpn.TRAIN_CANDIDATES", 60)
    monkeypatch.setattr("gcvit.tasks.detect.rpn.CANDIDATES", 40)
    which = "train_proposals" if training else "proposals"
    rpn = RPN(HeadConfig(**{**SMALL, which: number}))
    some = levels(size, 0)
    expected = as_defined(some, size, 60 if training else 40, number)
    found = rpn.proposals(some, size, training=training)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    # The levels' overlapping boxes are kept, and those beyond the picture are not.
    assert has_area(found).all()
    assert len(found) > 30 if number == 10_000 else len(found) == number


@pytest.mark.parametrize(("kind", "number"), [("mask-rcnn", 1000), ("cascade", 2000)])
def test_the_published_number_in_training(kind: str, number: int) -> None:
    some = levels((320, 320), 0, spread=0.02, scale=2.0)
    rpn = RPN(HeadConfig(head=kind))  # type: ignore[arg-type]
    assert len(rpn.proposals(some, (320, 320), training=True)) == number
    assert len(rpn.proposals(some, (320, 320), training=False)) == 1000


def test_there_is_always_a_proposal() -> None:
    some = [level._replace(deltas=torch.full_like(level.deltas, -1e4)) for level in levels((37, 52), 0)]
    assert RPN(HeadConfig(**SMALL)).proposals(some, (37, 52), training=False).tolist() == [[0, 0, 52, 37]]


def smooth(apart: float, beta: float) -> float:
    return 0.5 * apart**2 / beta if apart < beta else apart - beta / 2


@pytest.mark.parametrize(("kind", "border", "beta"), [("mask-rcnn", None, 0.0), ("cascade", 0, 1 / 9)])
@pytest.mark.parametrize("samples", [16, 100_000])
def test_losses(kind: str, border: int | None, beta: float, samples: int) -> None:
    sizes = [(70, 90), (64, 64), (50, 130)]
    some = [levels(size, seed, 0.3) for seed, size in enumerate(sizes)]
    real = [
        random_objects(number, size, seed) for seed, (number, size) in enumerate(zip((3, 0, 1), sizes, strict=True))
    ]
    tiny = torch.tensor([[30.0, 30, 38, 38]])  # no anchor reaches the floor with it
    real[2] = Targets(torch.cat([real[2].boxes, tiny]), real[2].labels.repeat(2), None, real[2].seed)
    rpn = RPN(HeadConfig(head=kind, **{**SMALL, "anchor_samples": samples}))  # type: ignore[arg-type]
    objectness = box = 0.0
    number = 0
    for picture, size, objects in zip(some, sizes, real, strict=True):
        start, logits, deltas = ([x for level in picture for x in level[part].tolist()] for part in range(3))
        if border is not None:
            inside = [a[0] >= 0 and a[1] >= 0 and a[2] < size[1] and a[3] < size[0] for a in start]
            start, logits, deltas = (
                [x for x, keep in zip(part, inside, strict=True) if keep] for part in (start, logits, deltas)
            )
        wanted = objects.boxes.tolist()
        matched = scalar.match(start, wanted, 0.7, 0.3, 0.3)
        positives, negatives = draw(torch.tensor(matched), samples, 0.5, derive_seed(objects.seed, 0))
        number += max(len(positives), 1) + max(len(negatives), 1)
        assert len(positives) > 0 or not wanted
        for at in positives.tolist():
            objectness += math.log1p(math.exp(-logits[at]))
            for a, b in zip(deltas[at], scalar.encode(start[at], wanted[matched[at]], ONES), strict=True):
                box += smooth(abs(a - b), beta)
        objectness += sum(math.log1p(math.exp(logits[at])) for at in negatives.tolist())
    found = rpn.losses(some, sizes, real)
    assert found["objectness"].item() == pytest.approx(objectness / number, rel=1e-6)
    assert found["proposal"].item() == pytest.approx(box / number, rel=1e-5)
    assert box > 0


def test_a_picture_without_anchors_inside_costs_nothing() -> None:
    rpn = RPN(HeadConfig(head="cascade", **SMALL))  # type: ignore[arg-type]
    some = levels((32, 32), 0)
    some = [
        level._replace(logits=level.logits.requires_grad_(), deltas=level.deltas.requires_grad_()) for level in some
    ]
    losses = rpn.losses([some], [(32, 32)], [random_objects(2, (32, 32))])
    sum(losses.values()).backward()
    assert [loss.item() for loss in losses.values()] == [0, 0]
    assert all(x.grad is not None and not x.grad.any() for level in some for x in (level.logits, level.deltas))


def test_answers_lie_beside_their_anchors() -> None:
    """Each output is moved by itself: cell by cell, for each cell one a ratio, for each ratio four numbers."""
    torch.manual_seed(0)
    rpn = RPN(HeadConfig(**SMALL)).double()
    maps = [torch.randn(2, 8, *cells, dtype=torch.float64) for cells in ((6, 9), (3, 5), (2, 3), (1, 2), (1, 1))]
    found = rpn(maps)
    assert len(found) == 2
    for picture in range(2):
        for level, x, stride in zip(found[picture], maps, STRIDES, strict=True):
            hidden = rpn.conv(x)[picture].relu()
            rows, columns = x.shape[2:]
            for row, column, ratio in ((0, 0, 0), (rows - 1, columns - 1, 2), (rows // 2, columns - 1, 1)):
                at = (row * columns + column) * 3 + ratio
                middle = (level.anchors[at, :2] + level.anchors[at, 2:]) / 2
                torch.testing.assert_close(middle, torch.tensor([column * stride, row * stride]).double())
                cell = hidden[:, row, column]
                logit = (rpn.classifier.weight[ratio, :, 0, 0] * cell).sum()
                torch.testing.assert_close(level.logits[at], logit)
                for side in range(4):
                    delta = (rpn.regressor.weight[4 * ratio + side, :, 0, 0] * cell).sum()
                    torch.testing.assert_close(level.deltas[at, side], delta)


def test_objects_without_area_are_left_out() -> None:
    objects = random_objects(3, (60, 60))
    boxes = objects.boxes.clone()
    boxes[1, 2] = boxes[1, 0]
    left = Targets(boxes, objects.labels, objects.masks, 5).with_area()
    assert torch.equal(left.boxes, boxes[[0, 2]])
    assert torch.equal(left.labels, objects.labels[[0, 2]])
    assert objects.masks is not None
    assert left.masks is not None
    assert torch.equal(left.masks, objects.masks[[0, 2]])
    assert left.seed == 5
