"""Training and prediction of both forms against their definition, one box after the other. The networks are taken as
they are; everything around them is written down in numbers."""

import math
from dataclasses import replace
from itertools import chain

import pytest
import torch
from torch import Tensor

from gcvit.data.sampling import derive_seed
from gcvit.tasks.detect.matching import draw
from gcvit.tasks.detect.objects import Targets
from gcvit.tasks.detect.pooler import STRIDES, pool
from gcvit.tasks.detect.roi_heads import RoIHeads
from gcvit.tasks.detect.settings import FORMS, HeadConfig, Kind
from tasks.detect import scalar
from tasks.detect.building import CLASSES, SMALL, random_boxes, random_objects

SIZES = [(90, 120), (64, 64), (120, 80)]
KINDS: list[Kind] = ["mask-rcnn", "cascade"]


def heads(kind: Kind, seed: int = 0, **changes: object) -> RoIHeads:
    """In eval mode, so that batch norm takes no part, with decided answers."""
    torch.manual_seed(seed)
    model = RoIHeads(CLASSES, HeadConfig(head=kind, **(SMALL | changes))).double().eval()  # type: ignore[arg-type]
    for head in model.box_heads:
        torch.nn.init.normal_(head.classifier.weight, std=1.0)
        torch.nn.init.normal_(head.regressor.weight, std=0.5)
    for head in model.mask_heads:
        torch.nn.init.normal_(head.classifier.weight, std=1.0)
    return model


def maps(size: tuple[int, int], seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sides = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in STRIDES]
    return [torch.randn(1, SMALL["channels"], *side, generator=generator, dtype=torch.float64) for side in sides]


def some_proposals(seed: int, size: tuple[int, int], near: Tensor) -> Tensor:
    """Anywhere, and around objects."""
    generator = torch.Generator().manual_seed(seed)
    around = near.double().repeat(6, 1)
    around = around + 3 * torch.randn(around.shape, generator=generator, dtype=torch.float64)
    boxes = torch.cat([random_boxes(30, seed, min(size)), around])
    return torch.tensor([scalar.clip(box, size) for box in boxes.tolist()], dtype=torch.float64)


def row(boxes: list) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)


@torch.no_grad()
def losses_as_defined(model: RoIHeads, pictures: list, sizes: list, proposals: list, objects: list) -> dict[str, float]:
    config, cascade = model.config, model.config.head == "cascade"
    settings = [
        (0.5, (0.1, 0.1, 0.2, 0.2), 1.0),
        (0.6, (0.05, 0.05, 0.1, 0.1), 0.5),
        (0.7, (0.033, 0.033, 0.067, 0.067), 0.25),
    ]
    losses = {}
    current = [boxes.tolist() for boxes in proposals]
    for stage, (limit, stds, weight) in enumerate(settings if cascade else settings[:1]):
        class_loss = box_loss = mask_loss = 0.0
        boxes_seen = cells_seen = 0
        following = []
        for picture, size, boxes, real in zip(pictures, sizes, current, objects, strict=True):
            wanted = real.boxes.double().tolist()
            matched = [*range(len(wanted)), *scalar.match(boxes, wanted, limit, limit, None if cascade else limit)]
            boxes = [*wanted, *boxes]
            positives, negatives = draw(
                torch.tensor(matched), config.box_samples, 0.25, derive_seed(real.seed, stage + 1)
            )
            moved = []
            for at in [*positives.tolist(), *negatives.tolist()]:
                boxes_seen += 1
                box, thing = boxes[at], matched[at]
                logits, deltas = (x[0].tolist() for x in model.box_heads[stage](pool(picture, row([box]), 7)))
                label = real.labels[thing].item() if thing >= 0 else CLASSES
                class_loss += math.log(sum(map(math.exp, logits))) - logits[label]
                likeliest = max(range(CLASSES), key=lambda c, logits=logits: logits[c])
                if at >= len(wanted):  # the objects' own boxes end here
                    by = label if thing >= 0 else likeliest
                    moved.append(scalar.clip(scalar.decode(box, deltas[by], stds), size))
                if thing < 0:
                    continue
                if cascade:
                    box_loss += 10 * (1 - scalar.giou(scalar.decode(box, deltas[label], stds), wanted[thing]))
                else:
                    goal = scalar.encode(box, wanted[thing], stds)
                    box_loss += sum(abs(a - b) for a, b in zip(deltas[label], goal, strict=True))
                logits = model.mask_heads[stage](pool(picture, row([box]), 14))[0, label].flatten().tolist()
                covered = scalar.roi_align(real.masks[thing].double().tolist(), scalar.clip(box, size), 1.0, 28)
                for logit, part in zip(logits, chain(*covered), strict=True):
                    cells_seen += 1
                    mask_loss += math.log1p(math.exp(-logit if part >= 0.5 else logit))
            following.append(moved)
        name = str(stage + 1) if cascade else ""
        losses[f"class{name}"] = weight * class_loss / boxes_seen
        losses[f"box{name}"] = weight * box_loss / boxes_seen
        losses[f"mask{name}"] = weight * mask_loss / cells_seen
        current = following
    return losses


def given(numbers: tuple[int, ...]) -> tuple[list, list, list, list]:
    sizes = SIZES[: len(numbers)]
    objects = [
        random_objects(n, size, seed, torch.float64) for seed, (n, size) in enumerate(zip(numbers, sizes, strict=True))
    ]
    proposals = [
        some_proposals(seed, size, real.boxes) for seed, (size, real) in enumerate(zip(sizes, objects, strict=True))
    ]
    return [maps(size, seed) for seed, size in enumerate(sizes)], sizes, proposals, objects


@pytest.mark.parametrize("samples", [32, 10_000], ids=["drawn", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_losses(kind: Kind, samples: int) -> None:
    model = heads(kind, box_samples=samples)
    case = given((2, 0, 3))
    found, expected = model.losses(*case), losses_as_defined(model, *case)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-6), name
        assert value > 0


@pytest.mark.parametrize(("kind", "number"), [("mask-rcnn", 1), ("cascade", 0)])
def test_whose_a_box_is_that_is_the_closest_to_another_object(kind: Kind, number: int) -> None:
    """IoU 0.9 with the first object, 0.6 with the second, which has no closer one."""
    objects = Targets(row([[0, 0, 50, 45], [0, 0, 50, 30]]), torch.tensor([2, 1]))
    drawn = heads(kind).draw(0, row([[0, 0, 50, 50]]), objects)
    assert drawn.objects.tolist() == [0, 1, number]
    assert drawn.given == 2
    assert drawn.labels.tolist() == [2, 1, [2, 1][number]]


def test_the_form_is_all_that_lies_between_a_cascade_and_mask_rcnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cascade of one stage with Mask R-CNN's matcher, loss and layers is Mask R-CNN."""
    plain, case = heads("mask-rcnn"), given((2, 0, 3))
    ours = FORMS["cascade"]
    one = replace(ours, stages=ours.stages[:1], closest=True, giou=False, convs=0, linears=2)
    monkeypatch.setitem(FORMS, "cascade", one)
    cascade = heads("cascade", seed=1)
    cascade.load_state_dict(plain.state_dict())
    a, b = plain.losses(*case), cascade.losses(*case)
    assert a == b
    for picture, size, boxes in zip(*case[:3], strict=True):
        for x, y in zip(plain(picture, size, boxes), cascade(picture, size, boxes), strict=True):
            assert x is not None
            assert y is not None
            assert torch.equal(x, y)


@torch.no_grad()
def detections_as_defined(model: RoIHeads, picture: list, size: tuple[int, int], proposals: Tensor) -> list[tuple]:
    cascade, config = model.config.head == "cascade", model.config
    stds = [(0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067)][: 3 if cascade else 1]
    found: dict[int, list[tuple[float, list[float]]]] = {}
    for box in proposals.tolist():
        total = [0.0] * (CLASSES + 1)
        for stage, std in enumerate(stds):
            logits, deltas = (x[0].tolist() for x in model.box_heads[stage](pool(picture, row([box]), 7)))
            total = [a + b / len(stds) for a, b in zip(total, logits, strict=True)]
            if stage + 1 < len(stds):
                label = max(range(CLASSES), key=lambda c, logits=logits: logits[c])
                box = scalar.clip(scalar.decode(box, deltas[label], std), size)
        for label in range(CLASSES):
            score = math.exp(total[label]) / sum(map(math.exp, total))
            if score > config.min_score:
                moved = scalar.clip(scalar.decode(box, deltas[label], stds[-1]), size)
                found.setdefault(label, []).append((score, moved))
    told = []
    for label, some in found.items():
        for at in scalar.nms([box for _, box in some], [score for score, _ in some], config.nms):
            told.append((*some[at], label))
    told = sorted(told, key=lambda one: -one[0])[: config.detections]
    masks = []
    for _, box, label in told:
        logits = [head(pool(picture, row([box]), 14))[0, label] for head in model.mask_heads]
        masks.append(sum(1 / (1 + (-x).exp()) for x in logits) / len(stds))
    return [(*one, mask) for one, mask in zip(told, masks, strict=True)]


@pytest.mark.parametrize(("limit", "detections"), [(0.5, 100), (0.3, 5)])
@pytest.mark.parametrize("kind", KINDS)
def test_detections(kind: Kind, limit: float, detections: int) -> None:
    model = heads(kind, nms=limit, detections=detections, min_score=0.2)
    pictures, sizes, proposals, _ = given((4, 2))
    for picture, size, boxes in zip(pictures, sizes, proposals, strict=True):
        expected = detections_as_defined(model, picture, size, boxes)
        found = model(picture, size, boxes)
        assert found.labels.tolist() == [one[2] for one in expected]
        assert len(expected) == 5 if detections == 5 else 5 < len(expected) < 100
        torch.testing.assert_close(found.scores, torch.tensor([one[0] for one in expected]).double())
        torch.testing.assert_close(found.boxes, row([one[1] for one in expected]))
        torch.testing.assert_close(found.masks, torch.stack([one[3] for one in expected]))


def test_a_score_at_the_threshold_is_not_told() -> None:
    model = heads("mask-rcnn", min_score=0.25)  # of three classes and the background, all equally likely
    for parameter in model.box_heads.parameters():
        parameter.data.zero_()
    picture, boxes = maps((64, 64), 0), random_boxes(5, 0, 64)
    found = model(picture, (64, 64), boxes)
    assert [len(part) for part in found if part is not None] == [0, 0, 0, 0]
    assert found.boxes.shape == (0, 4)
    assert found.masks is not None
    assert found.masks.shape == (0, 28, 28)


@pytest.mark.parametrize("kind", KINDS)
def test_without_masks(kind: Kind) -> None:
    model, case = heads(kind, masks=False), given((2, 1))
    assert not any("mask" in name for name in [*model.losses(*case), *dict(model.named_parameters())])
    objects = [replace(real, masks=None) for real in case[3]]
    assert model.losses(*case[:3], objects) == model.losses(*case)
    assert model(case[0][0], case[1][0], case[2][0]).masks is None


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_learned_reaches_the_boxes_of_the_next_stage(kind: Kind) -> None:
    """Refined boxes and proposals are data: only their own losses teach a stage."""
    model, case = heads(kind), given((2, 1))
    losses = model.losses(*case)
    names = [name for name in losses if name.endswith("3")] if kind == "cascade" else []
    for name in names:
        grads = torch.autograd.grad(
            losses[name], list(model.box_heads[:2].parameters()), retain_graph=True, allow_unused=True
        )
        assert all(grad is None for grad in grads)
    assert all(boxes.grad_fn is None for boxes in case[2])
