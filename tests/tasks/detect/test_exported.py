"""Exported detectors: what is written in fixed shapes is the detector, and a file in its place answers as it does."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcvit.errors import UserError
from gcvit.export import convert as convert_module
from gcvit.export.check import compare
from gcvit.export.convert import convert
from gcvit.export.formats import SUFFIXES, Format
from gcvit.export.runtime import Program, load
from gcvit.tasks.detect.detector import Detector
from gcvit.tasks.detect.exported import ExportedDetector, PaddedDetections, misfit, paired, unsuppressed
from gcvit.tasks.detect.settings import OUTPUTS, HeadConfig, Kind
from tasks.detect.building import CLASSES, SMALL, decided, pictures, random_boxes

SIZE = (64, 96)
KINDS: tuple[Kind, ...] = ("mask-rcnn", "cascade")
every_kind = pytest.mark.parametrize("kind", KINDS)


class Plain(nn.Module):
    """Maps of pictures made small: GC ViT's own export is tested elsewhere, and takes most of the time here."""

    channels = (8,) * 4

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1, bias=False)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        return [self.conv(F.avg_pool2d(images, stride)) for stride in (4, 8, 16, 32)]


def plain(kind: Kind, seed: int = 0, **head: Any) -> PaddedDetections:
    torch.manual_seed(seed)
    return PaddedDetections(decided(Detector(Plain(), CLASSES, HeadConfig(**(SMALL | head), head=kind))).fold())


def images(count: int) -> Tensor:
    return torch.stack(pictures(*[SIZE] * count))


def as_program(model: PaddedDetections) -> Program:
    def run(given: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return model(given)

    return run


@every_kind
@pytest.mark.parametrize(
    "head",
    [
        {},
        {"masks": False},
        {"min_score": 0.0, "detections": 7},
        {"proposals": 5000, "nms": 0.2},
        {"min_score": 0.3, "proposals": 3, "detections": 500},
    ],
)
def test_fixed_shapes_are_the_same_detector(kind: Kind, head: dict[str, Any]) -> None:
    model = plain(kind, **head)
    given = images(3)
    with torch.no_grad():
        expected, found = model(given), model.fixed(given)
    assert len(found) == (4 if head.get("masks") is False else 5)
    assert expected[3].max() > 0
    for name, ours, theirs in zip(OUTPUTS, found, expected, strict=False):
        assert ours.dtype == theirs.dtype, name
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-5)


def test_nothing_is_found_where_nothing_is_sure() -> None:
    model = plain("mask-rcnn", min_score=0.9999)
    with torch.no_grad():
        for parts in (model(images(2)), model.fixed(images(2))):
            assert not any(part.any() for part in parts)


def test_suppression_is_the_definition() -> None:
    boxes = torch.stack([random_boxes(60, seed, dtype=torch.float32) for seed in range(3)])
    scores = torch.rand(3, 60, generator=torch.Generator().manual_seed(0)) - 0.2
    scores[1, 10:20] = scores[1, 5]  # equally sure: in their order
    for iou, most in ((0.5, 100), (0.1, 4)):
        found = unsuppressed(boxes, scores, iou, most)
        for group in range(3):
            kept: list[int] = []
            for number in scores[group].argsort(descending=True, stable=True).tolist():
                left, top, right, below = boxes[group, number].tolist()
                apart = True
                for other in kept:
                    a, b, c, d = boxes[group, other].tolist()
                    common = max(min(right, c) - max(left, a), 0) * max(min(below, d) - max(top, b), 0)
                    apart &= common <= iou * ((right - left) * (below - top) + (c - a) * (d - b) - common)
                if apart and scores[group, number] > 0 and len(kept) < most:
                    kept.append(number)
            assert found[group].nonzero()[:, 0].tolist() == sorted(kept)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Path]:
    """A detector as ONNX, which OpenVINO reads, each written once: Mask R-CNN as it is kept, a cascade as it is on its
    way to OpenVINO, which is quicker."""

    @cache
    def make(kind: Kind) -> Path:
        path, model = tmp_path_factory.mktemp(kind) / "model.onnx", plain(kind, min_score=0.26)
        if kind == "mask-rcnn":
            convert(model, path, "onnx", SIZE, outputs=OUTPUTS)
        else:
            convert_module._onnx(convert_module._trace(model, SIZE), path, list(OUTPUTS), optimize=False)
        return path

    return make


@every_kind
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_files_answer_as_the_detector_does(
    files: Callable[[Kind], Path], tmp_path: Path, kind: Kind, to: Format
) -> None:
    """Any batch; pictures with objects and without."""
    path = files(kind)
    if to == "openvino":
        openvino = pytest.importorskip("openvino")
        openvino.save_model(openvino.convert_model(path), tmp_path / "model.xml", compress_to_fp16=False)
        path = tmp_path / "model.xml"
    program, model = load(path, to), plain(kind, min_score=0.26)
    for count in (1, 2, 3):
        given = images(count)
        given[-1] = 0.0
        difference = compare(model, program, "noise", [given], paired)
        assert difference.relative < 1e-5
        counts = program(given)[3].tolist()
        assert counts[-1] == 0
        assert all(number > 1 for number in counts[:-1])
    with pytest.raises(UserError, match="takes fp32 images of shape"):
        program(torch.zeros(1, 3, 64, 64))


class Suppression(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        boxes = images.flatten(1).unflatten(1, (-1, 4)).sort(2).values
        return unsuppressed(boxes, boxes[:, :, 0] + 2, 0.1, 5).float()


def test_torch_keeps_the_operator(tmp_path: Path) -> None:
    path = tmp_path / f"model{SUFFIXES['torch-export']}"
    convert(Suppression(), path, "torch-export", SIZE)
    (found,) = load(path, "torch-export")(images(3))
    assert found.sum() == 15
    torch.testing.assert_close(found, Suppression()(images(3)))


@every_kind
def test_a_file_in_a_detectors_place(kind: Kind) -> None:
    model = plain(kind, detections=20)
    taken = ExportedDetector(as_program(model), SIZE, model.model.head_config, CLASSES)
    given = pictures(SIZE, SIZE)
    with torch.no_grad():
        expected = model.model(given)
    for ours, theirs in zip(taken(given), expected, strict=True):
        assert len(theirs.scores) == 20
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other)
    taken.limit(None, 4)
    assert [len(found.scores) for found in taken(given)] == [4, 4]
    assert taken.used.detections == 4
    with pytest.raises(UserError, match="gives 20 at most"):
        taken.limit(None, 21)
    with pytest.raises(UserError, match="looks into 40 boxes"):
        taken.limit(30, None)


def test_what_is_found_beside_a_smaller_picture_is_left_out() -> None:
    model = plain("mask-rcnn", seed=5)  # which finds something there
    taken = ExportedDetector(as_program(model), SIZE, model.model.head_config, CLASSES)
    small = pictures((30, 50))[0]
    with torch.no_grad():
        (whole,) = model.model([F.pad(small, (0, 46, 0, 34))])
    (found,) = taken([small])
    there = (whole.boxes[:, 0] < 50) & (whole.boxes[:, 1] < 30)
    assert 0 < there.sum() < len(there)
    torch.testing.assert_close(found.boxes, whole.boxes[there])  # as they are: masks lie in whole boxes
    assert found.masks is not None


@pytest.mark.parametrize(("place", "value"), [(2, CLASSES), (2, -1), (3, 101)])
def test_answers_that_cannot_be_are_refused(place: int, value: int) -> None:
    model = plain("mask-rcnn")

    def program(given: Tensor) -> list[Tensor]:
        outputs = as_program(model)(given)
        outputs[place] = torch.full_like(outputs[place], value)
        return outputs

    taken = ExportedDetector(program, SIZE, model.model.head_config, CLASSES)
    with pytest.raises(UserError, match="does not name"):
        taken(pictures(SIZE))


def test_outputs_of_other_settings_are_found() -> None:
    model = plain("mask-rcnn")
    outputs = as_program(model)(images(1))
    assert misfit(outputs, model.model.head_config) is None
    for head in (HeadConfig(detections=50), HeadConfig(masks=False)):
        assert misfit(outputs, head) is not None


def detections(number: int) -> list[Tensor]:
    """Of two pictures, `number` and none."""
    boxes = random_boxes(number, 0, dtype=torch.float32)
    rows = [boxes, torch.rand(number), torch.arange(number) % 7, torch.rand(number, 28, 28)]
    boxes, scores, labels, masks = (torch.stack([x, torch.zeros_like(x)]) for x in rows)
    return [boxes, scores, labels, torch.tensor([number, 0]), masks]


def relative(found: list[Tensor], expected: list[Tensor]) -> float:
    return compare(lambda _: expected, lambda _: found, "noise", [torch.zeros(2)], paired).relative  # type: ignore[arg-type]


def test_detections_are_compared_whatever_their_order() -> None:
    expected = detections(60)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    turned = [x if x.ndim == 1 else x[:, order] for x in expected]
    assert relative(turned, expected) == 0
    for place, change in ((0, 0.5), (1, 0.01), (4, 0.1)):
        wrong = [x.clone() for x in turned]
        wrong[place][0, 3] += change
        assert relative(wrong, expected) > 1e-4, OUTPUTS[place]
    wrong = [x.clone() for x in turned]
    wrong[2][0, :3] += 1
    assert relative(wrong, expected) > 1e-4


@pytest.mark.parametrize(("number", "lone", "alike"), [(60, 1, True), (60, 2, False), (20, 1, False)])
def test_few_may_be_decided_by_rounding(number: int, lone: int, alike: bool) -> None:
    expected = detections(number)
    found = [x.clone() for x in expected]
    for x in (found[0], found[1], found[2], found[4]):
        x[0, : number - lone], x[0, number - lone :] = expected_rows(x, lone), 0
    found[3][0] -= lone
    assert (relative(found, expected) < 1e-6) == alike


def expected_rows(x: Tensor, lone: int) -> Tensor:
    """Without the first."""
    return x[0, lone:].clone()
