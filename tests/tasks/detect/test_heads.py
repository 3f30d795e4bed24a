"""The sizes of the published heads, to the parameter."""

import pytest
import torch
from torch import nn

from gcvit.factory import create_model
from gcvit.tasks.detect.detector import Detector
from gcvit.tasks.detect.heads import BoxHead, MaskHead
from gcvit.tasks.detect.settings import HeadConfig, Kind


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def published(name: str, kind: Kind) -> Detector:
    with torch.device("meta"):
        backbone = create_model(name, img_size=512, windows=(16,) * 4, head=False)
        return Detector(backbone, 80, HeadConfig(head=kind))


@pytest.mark.parametrize(
    ("name", "kind", "millions"),
    [
        ("gcvit_tiny", "mask-rcnn", 47.98),
        ("gcvit_tiny", "cascade", 85.81),
        ("gcvit_small", "cascade", 108.61),
        ("gcvit_base", "cascade", 147.76),
    ],
)
def test_the_papers_detectors(name: str, kind: Kind, millions: float) -> None:
    assert round(count(published(name, kind)) / 1e6, 2) == millions


def test_their_parts() -> None:
    mask_rcnn, cascade = published("gcvit_tiny", "mask-rcnn"), published("gcvit_tiny", "cascade")
    for model in (mask_rcnn, cascade):
        assert count(model.fpn) == 2_607_104
        assert count(model.rpn) == 593_935
        assert {count(head) for head in model.roi_heads.mask_heads} == {2_643_280}
    assert count(mask_rcnn.fpn, mask_rcnn.rpn, mask_rcnn.roi_heads) == 20_151_024
    assert [count(head) for head in cascade.roi_heads.box_heads] == [15_618_449] * 3
    assert len(cascade.roi_heads.mask_heads) == 3


@pytest.mark.parametrize("kind", ["mask-rcnn", "cascade"])
def test_a_head_starts_undecided(kind: Kind) -> None:
    torch.manual_seed(0)
    config = HeadConfig(head=kind, channels=32, hidden=64)
    x = torch.randn(20, 32, 7, 7)
    logits, deltas = BoxHead(1, config).train()(x)
    assert logits.shape == (20, 2)
    assert deltas.shape == (20, 1, 4)
    assert (logits.softmax(1) - 0.5).abs().amax() < 0.2
    assert deltas.abs().amax() < 0.1
    masks = MaskHead(1, config)(torch.randn(20, 32, 14, 14))
    assert masks.shape == (20, 1, 28, 28)
    assert (masks.sigmoid() - 0.5).abs().amax() < 0.2


def test_group_norm_sees_one_box_alone() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 32, 7, 7)
    for norm, alone in (("group", True), ("batch", False)):
        head = BoxHead(3, HeadConfig(head="cascade", norm=norm, channels=32, hidden=64)).train()  # type: ignore[arg-type]
        assert torch.allclose(head(x)[0][:2], head(x[:2])[0], atol=1e-5) == alone
