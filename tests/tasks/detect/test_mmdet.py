"""mmdetection's files: every name there, there and back, and what is refused before it is loaded."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gcvit.errors import UserError
from gcvit.factory import create_model
from gcvit.tasks.detect import mmdet
from gcvit.tasks.detect.detector import Detector
from gcvit.tasks.detect.mmdet import from_mmdet, read_off_heads
from gcvit.tasks.detect.settings import HeadConfig, Kind
from gcvit.weights.names import table
from tasks.detect.building import to_mmdet

CLASSES = 3
KINDS: tuple[Kind, ...] = ("mask-rcnn", "cascade")
# As the files have them, spelled out by hand: a name, and how many it stands for.
LAYERS = r"\.(weight|bias)"
NORMS = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
BOTH = {
    rf"backbone\.norm[0-3]{LAYERS}": 8,
    rf"neck\.(lateral|fpn)_convs\.[0-3]\.conv{LAYERS}": 16,
    rf"rpn_head\.(rpn_conv|rpn_cls|rpn_reg){LAYERS}": 6,
}
NAMES: dict[Kind, dict[str, int]] = {
    "mask-rcnn": {
        rf"roi_head\.bbox_head\.(shared_fcs\.[01]|fc_cls|fc_reg){LAYERS}": 8,
        rf"roi_head\.mask_head\.(convs\.[0-3]\.conv|upsample|conv_logits){LAYERS}": 12,
    },
    "cascade": {
        r"roi_head\.bbox_head\.[0-2]\.shared_convs\.[0-3]\.conv\.weight": 12,
        rf"roi_head\.bbox_head\.[0-2]\.shared_convs\.[0-3]\.bn{NORMS}": 60,
        rf"roi_head\.bbox_head\.[0-2]\.(shared_fcs\.0|fc_cls|fc_reg){LAYERS}": 18,
        rf"roi_head\.mask_head\.[0-2]\.(convs\.[0-3]\.conv|upsample|conv_logits){LAYERS}": 36,
    },
}


def small(kind: Kind, seed: int = 0, **head: object) -> Detector:
    """Every value differs from every other model's."""
    torch.manual_seed(seed)
    config = HeadConfig(kind, **({"channels": 8, "hidden": 16} | head))  # type: ignore[arg-type]
    model = Detector(create_model("gcvit_pico", head=False), CLASSES, config)
    for number, tensor in enumerate(model.state_dict().values()):
        tensor.copy_(torch.randn(tensor.shape) if tensor.is_floating_point() else torch.tensor(number))
    return model.eval()


def on_meta(kind: Kind, **head: object) -> Detector:
    return small(kind, **head).to("meta")


@pytest.mark.parametrize("kind", KINDS)
def test_every_name(kind: Kind) -> None:
    model = small(kind)
    found = to_mmdet(model)
    backbone = {f"backbone.{row.nvlabs}" for row in table(model.backbone.config)}
    assert len(found) == len(model.state_dict())
    assert backbone < found.keys()
    heads = found.keys() - backbone
    for pattern, number in (BOTH | NAMES[kind]).items():
        matching = {name for name in heads if re.fullmatch(pattern, name)}
        assert len(matching) == number, pattern
        heads -= matching
    assert not heads


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind: Kind, masks: bool) -> None:
    source = small(kind, masks=masks)
    state = to_mmdet(source) | {"backbone.levels.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49)}
    target = small(kind, seed=1, masks=masks)
    target.load_state_dict(from_mmdet(state, on_meta(kind, masks=masks), "file"))
    for (name, a), b in zip(source.state_dict().items(), target.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_theirs(kind: Kind) -> None:
    """By the layers that a name means there, not by our own table."""
    source = small(kind)
    state, stage = to_mmdet(source), ".1" if kind == "cascade" else ""
    number = 1 if kind == "cascade" else 0
    head, masks = source.roi_heads.box_heads[number], source.roi_heads.mask_heads[number]
    assert state[f"roi_head.bbox_head{stage}.fc_cls.weight"].shape == (CLASSES + 1, 16), "with the background"
    assert state[f"roi_head.bbox_head{stage}.fc_reg.weight"].shape == (4 * CLASSES, 16)
    for theirs, ours in {
        f"roi_head.bbox_head{stage}.fc_cls.bias": head.classifier.bias,
        f"roi_head.bbox_head{stage}.fc_reg.bias": head.regressor.bias,
        f"roi_head.bbox_head{stage}.shared_fcs.0.weight": head.linears[0].weight,
        f"roi_head.mask_head{stage}.convs.3.conv.bias": masks.convs[3].bias,
        f"roi_head.mask_head{stage}.conv_logits.bias": masks.classifier.bias,
        "neck.lateral_convs.2.conv.bias": source.fpn.inner_blocks[2][0].bias,
        "neck.fpn_convs.3.conv.bias": source.fpn.layer_blocks[3][0].bias,
        "rpn_head.rpn_cls.bias": source.rpn.classifier.bias,
        "rpn_head.rpn_reg.bias": source.rpn.regressor.bias,
        "backbone.norm2.weight": source.norms[2].weight,
        "backbone.patch_embed.proj.weight": source.backbone.stem.conv.weight,
    }.items():
        assert torch.equal(state[theirs], ours), theirs


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_heads_are_made_of(kind: Kind, masks: bool) -> None:
    model = small(kind, masks=masks)
    assert read_off_heads(to_mmdet(model), "file") == (model.head_config, CLASSES)


def without(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda state: state.pop(name)


FAULTS: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "missing": (without("rpn_head.rpn_cls.bias"), r"missing \(1\): rpn_head.rpn_cls.bias"),
    "a backbone's, missing": (without("backbone.norm3.bias"), r"missing \(1\): backbone.norm3.bias"),
    "left over": (lambda s: s.update({"neck.gate": torch.ones(2)}), r"left over \(1\): neck.gate"),
    "other classes": (
        lambda s: s.update({"roi_head.bbox_head.fc_cls.weight": torch.ones(9, 16)}),
        r"of another shape \(1\): roi_head.bbox_head.fc_cls.weight \(9, 16\) for \(4, 16\)",
    ),
    "other windows": (
        lambda s: s.update({"backbone.levels.0.blocks.0.attn.relative_position_bias_table": torch.zeros(9, 1)}),
        r"of another shape \(1\): .*bias_table \(9, 1\) for ",
    ),
    "not finite": (lambda s: s["neck.fpn_convs.0.conv.bias"].fill_(torch.nan), "1 of .* neck.fpn_convs.0.conv.bias"),
    "whole numbers": (
        lambda s: s.update({"rpn_head.rpn_reg.bias": torch.ones(12, dtype=torch.int64)}),
        "floating-point numbers .* rpn_head.rpn_reg.bias",
    ),
    "one number for many": (
        lambda s: s.update({"rpn_head.rpn_conv.bias": torch.ones(1).expand(8)}),
        "views of each other: rpn_head.rpn_conv.bias",
    ),
    "no tensor": (lambda s: s.update({"rpn_head.rpn_conv.bias": 1}), "ordinary tensors.*rpn_head.rpn_conv.bias"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize(("spoil", "told"), FAULTS.values(), ids=FAULTS)
def test_what_is_refused(spoil: Callable[[dict[str, Tensor]], object], told: str) -> None:
    state = to_mmdet(small("mask-rcnn"))
    spoil(state)
    with pytest.raises(UserError, match=f"^a file: .*{told}"):
        from_mmdet(state, on_meta("mask-rcnn"), "a file")


def test_other_heads_are_refused() -> None:
    with pytest.raises(UserError, match=r"missing .*roi_head\.bbox_head\.0.*left over .*roi_head\.bbox_head\.shared"):
        from_mmdet(to_mmdet(small("mask-rcnn")), on_meta("cascade"), "a file")
    with pytest.raises(UserError, match=r"a file: .*batch norms; set norm to batch"):
        from_mmdet(to_mmdet(small("cascade")), on_meta("cascade", norm="group"), "a file")


def test_heads_that_cannot_be() -> None:
    state = to_mmdet(small("mask-rcnn"))
    with pytest.raises(UserError, match="a file: no detector of mmdetection; its first names are"):
        read_off_heads({name: x for name, x in state.items() if name.startswith("backbone.")}, "a file")
    for name, tensor, told in (
        ("roi_head.bbox_head.fc_cls.weight", torch.zeros(16), "no detector"),
        ("roi_head.bbox_head.fc_cls.weight", torch.zeros(1, 16), "0 classes"),
        ("roi_head.bbox_head.fc_cls.weight", torch.zeros(2_000_000, 1), "1,999,999 classes"),
        ("roi_head.bbox_head.fc_cls.weight", torch.zeros(4, 99_999), "hidden"),
        ("roi_head.bbox_head.fc_cls.weight", torch.zeros(1).expand(2, 9_999), "views of each other"),
        ("roi_head.bbox_head.fc_cls.weight", 1, "ordinary tensors"),
        (mmdet.MARK, torch.zeros(9_999, 1, 1, 1), "channels"),
    ):
        with pytest.raises(UserError, match=f"a file: .*{told}"):
            read_off_heads(state | {name: tensor}, "a file")  # type: ignore[dict-item]
