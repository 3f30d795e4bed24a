"""Laws of the whole detector: a picture's detections are its own, training repeats, nothing breaks on hard cases."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from gcvit.errors import UserError
from gcvit.factory import create_model
from gcvit.tasks.detect.detector import Detector
from gcvit.tasks.detect.objects import Detections, Targets
from gcvit.tasks.detect.pasting import paste
from gcvit.tasks.detect.settings import HeadConfig, Kind
from tasks.detect import scalar
from tasks.detect.building import CLASSES, SMALL, detector, pictures, random_objects
from tasks.segmenters import matter

KINDS: list[Kind] = ["mask-rcnn", "cascade"]


def alike(found: Detections, expected: Detections, tolerance: float = 1e-8) -> None:
    assert found.labels.tolist() == expected.labels.tolist()
    for part in ("boxes", "scores", "masks"):
        torch.testing.assert_close(getattr(found, part), getattr(expected, part), atol=tolerance, rtol=tolerance)


def found_by(model: Detector, images: Sequence[Tensor] | Tensor) -> list[Detections]:
    with torch.no_grad():
        found = model(images)
    assert isinstance(found, list)
    assert all(len(one.boxes) > 2 for one in found)
    return found


def losses_of(model: Detector, images: Sequence[Tensor] | Tensor, objects: Sequence[Targets]) -> dict[str, Tensor]:
    losses = model(images, objects)
    assert isinstance(losses, dict)
    return losses


@pytest.mark.parametrize("kind", KINDS)
def test_batch_mates_and_their_order_change_no_detection(kind: Kind) -> None:
    model = detector(head=kind).double()
    images = pictures((64, 96), (70, 45), (64, 96), (33, 130), dtype=torch.float64)
    alone = [found_by(model, [image])[0] for image in images]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 3], [0, 2]):
        for at, one in zip(order, found_by(model, [images[at] for at in order]), strict=True):
            alike(one, alone[at])
    bright = [images[0], 100 * images[2], images[1]]
    alike(found_by(model, bright)[0], alone[0])


def test_pictures_of_one_size_in_one_tensor() -> None:
    model, images = detector(), pictures((64, 96), (64, 96))
    for a, b in zip(found_by(model, torch.stack(images)), found_by(model, images), strict=True):
        alike(a, b, 0.0)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (96, 70), (40, 1000)])
@pytest.mark.parametrize("kind", KINDS)
def test_detections_of_any_size(kind: Kind, size: tuple[int, int]) -> None:
    (found,) = found_by(detector(head=kind, detections=25), pictures(size))
    boxes, scores, labels, masks = found
    assert len(boxes) <= 25
    assert boxes.min() >= 0
    assert boxes[:, 0::2].max() <= size[1]
    assert boxes[:, 1::2].max() <= size[0]
    assert scores.min() > 0.05
    assert (scores.diff() <= 0).all()
    assert labels.dtype == torch.int64
    assert labels.min() >= 0
    assert labels.max() < CLASSES
    assert masks is not None
    assert masks.shape == (len(boxes), 28, 28)
    assert masks.min() >= 0
    assert masks.max() <= 1


def test_fewer_proposals_at_prediction() -> None:
    model, images, seen = detector(proposals=7), pictures((96, 96)), []
    model.roi_heads.box_heads[0].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    found_by(model, images)
    assert seen == [7]


@pytest.mark.parametrize("kind", KINDS)
def test_training_repeats_to_the_bit(kind: Kind) -> None:
    """Whatever has been drawn from torch's own generators before; another seed draws other boxes."""
    model = detector(head=kind).train()
    images = pictures((96, 96), (70, 120))
    objects = [random_objects(4, (96, 96), 0), random_objects(3, (70, 120), 1)]
    first = losses_of(model, images, objects)
    torch.rand(7)
    second = losses_of(model, images, objects)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = losses_of(model, images, [replace(real, seed=real.seed + 9) for real in objects])
    assert not any(
        torch.equal(first[name], other[name]) for name in ("objectness", "class" + "1" * (kind == "cascade"))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_losses_do_not_depend_on_the_order_of_pictures(kind: Kind) -> None:
    model = detector(head=kind).double().train()
    images = pictures((96, 96), (70, 120), (96, 96), dtype=torch.float64)
    objects = [
        random_objects(n, (x.shape[1], x.shape[2]), n, torch.float64) for n, x in zip((4, 0, 2), images, strict=True)
    ]
    losses, turned = losses_of(model, images, objects), losses_of(model, images[::-1], objects[::-1])
    for name, loss in losses.items():
        assert turned[name].item() == pytest.approx(loss.item(), rel=1e-8), name


def no_objects(size: tuple[int, int]) -> Targets:
    return random_objects(0, size)


def degenerate(size: tuple[int, int]) -> Targets:
    """Two real objects between points and lines."""
    real = random_objects(5, size)
    boxes = real.boxes.clone()
    boxes[0, 2:] = boxes[0, :2]
    boxes[2, 2] = boxes[2, 0]
    boxes[4, 3] = boxes[4, 1]
    return replace(real, boxes=boxes)


def hairs(size: tuple[int, int]) -> Targets:
    """As thin as numbers go."""
    real = random_objects(3, size)
    boxes = torch.tensor([[0.0, 5, 1e-30, 20], [3, 3, 3.0000005, 3.0000005], [0, 0, size[1], 1e-38]])
    return replace(real, boxes=boxes)


def whole(size: tuple[int, int]) -> Targets:
    return replace(random_objects(1, size), boxes=torch.tensor([[0.0, 0, size[1], size[0]]]))


def same_place(size: tuple[int, int]) -> Targets:
    real = random_objects(1, size)
    assert real.masks is not None
    return Targets(real.boxes.repeat(40, 1), real.labels.repeat(40), real.masks.repeat(40, 1, 1))


def a_thousand(size: tuple[int, int]) -> Targets:
    return random_objects(1000, size)


HARD = [
    (no_objects, (64, 64)),
    (degenerate, (64, 64)),
    (hairs, (64, 64)),
    (whole, (64, 64)),
    (whole, (32, 32)),
    (same_place, (64, 64)),
    (a_thousand, (64, 96)),
    (degenerate, (40, 1000)),
]


@pytest.mark.parametrize(("objects", "size"), HARD, ids=[f"{make.__name__} {size}" for make, size in HARD])
@pytest.mark.parametrize("kind", KINDS)
def test_hard_cases_are_finite_and_reach_every_parameter(kind: Kind, objects, size: tuple[int, int]) -> None:
    model = detector(head=kind).train()
    losses = losses_of(model, pictures(size), [objects(size)])
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values()), losses
    sum(losses.values()).backward()  # type: ignore[union-attr]
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [name for name, grad in gradients.items() if grad is None] == []
    assert [name for name, grad in gradients.items() if grad is not None and not grad.isfinite().all()] == []
    statistics = [x for name, x in model.named_buffers() if "running" in name]
    assert all(x.isfinite().all() for x in statistics)
    plain = losses_of(model, pictures((96, 96)), [random_objects(4, (96, 96))])
    assert list(plain) == list(losses)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind: Kind) -> None:
    model = detector(head=kind, anchor_scale=2.0).double().train()  # anchors of every level fit into the pictures
    objects = [random_objects(4, (192, 192), 0, torch.float64), random_objects(3, (100, 250), 1, torch.float64)]
    losses = losses_of(model, pictures((192, 192), (100, 250), dtype=torch.float64), objects)
    assert all(loss > 0 for loss in losses.values())
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_one_class_and_no_proposal() -> None:
    torch.manual_seed(0)
    model = Detector(create_model("gcvit_pico", head=False), 1, HeadConfig(head="cascade", **SMALL)).train()
    objects = replace(random_objects(3, (96, 96)), labels=torch.zeros(3, dtype=torch.int64))
    nn.init.constant_(model.rpn.regressor.bias, -1e6)  # type: ignore[arg-type]  # all boxes end beyond the picture
    for real in (objects, no_objects((96, 96))):
        losses = losses_of(model, pictures((96, 96)), [real])
        assert all(loss.isfinite() for loss in losses.values())
        assert all(loss < 1e9 for loss in losses.values())
    with torch.no_grad():
        assert len(model.eval()(pictures((96, 96)))) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_keeps_losses_and_boxes_in_single(kind: Kind) -> None:
    model, images = detector(head=kind), pictures((96, 96))
    objects = [random_objects(4, (96, 96))]
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(model.train(), images, objects)
        found = found_by(model.eval(), images)[0]
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert {found.boxes.dtype, found.scores.dtype} == {torch.float32}
    plain = losses_of(model.train(), images, objects)
    assert losses["objectness"].item() == pytest.approx(plain["objectness"].item(), rel=0.05)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_folded_copy_computes_the_same(kind: Kind, norm: str) -> None:
    model, images = detector(head=kind, norm=norm, min_score=0.01), pictures((64, 70), dtype=torch.float64)
    matter(model)
    for part in (model.rpn, *model.roi_heads.box_heads):
        nn.init.normal_(part.regressor.weight, std=0.02)
    expected = found_by(model, images)
    folded = model.train().fold()
    alike(found_by(folded, images)[0], expected[0], 1e-7)
    assert not folded.training
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with pytest.raises(ValueError, match="folded"):
        folded.fold()


def test_mistakes() -> None:
    with pytest.raises(UserError, match="head=False"):
        Detector(create_model("gcvit_pico"), CLASSES, HeadConfig(**SMALL))
    with pytest.raises(UserError, match="too small"):
        detector()(pictures((31, 64)))


def test_it_learns_one_picture() -> None:
    """What is found is what is there: classes, boxes and masks."""
    torch.manual_seed(0)
    config = HeadConfig(**(SMALL | {"channels": 16, "anchor_scale": 4.0}))  # type: ignore[arg-type]
    size, model = (96, 96), Detector(create_model("gcvit_pico", head=False), CLASSES, config)
    boxes = torch.tensor([[8.0, 10, 44, 52], [50, 40, 90, 88]])
    masks = torch.zeros(2, *size, dtype=torch.bool)
    image = torch.zeros(3, *size)
    for number, (left, top, right, bottom) in enumerate(boxes.long().tolist()):
        masks[number, top:bottom, left:right] = True
        image[number, top:bottom, left:right] = 2
    optimizer = torch.optim.AdamW(model.train().parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, steps := 150)  # boxes jump about without
    for step in range(steps):
        losses = losses_of(model, [image], [Targets(boxes, torch.tensor([2, 0]), masks, step)])
        optimizer.zero_grad()
        sum(losses.values()).backward()  # type: ignore[union-attr]
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        (found,) = model.eval()([image])
    order = found.labels[:2].argsort(descending=True)
    assert found.labels[order].tolist() == [2, 0]
    pasted = paste(found.masks[order], found.boxes[order], size)
    for box, wanted, mask, real in zip(found.boxes[order], boxes, pasted, masks, strict=True):
        assert scalar.iou(box.tolist(), wanted.tolist()) > 0.7
        assert (mask & real).sum() / (mask | real).sum() > 0.7
