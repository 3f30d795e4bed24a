"""Names of contenders, and the models that they stand for."""

import pytest
import timm
import torch

from gcvit.bench.building import build
from gcvit.bench.contenders import FORMS, Contender, parse


def test_names_are_written_as_they_are_read():
    for text in ("gcvit_tiny", "timm/resnet18:channels_last", "gcvit_tiny:folded:channels_last:compiled"):
        assert str(parse(text)) == text
    assert parse("gcvit_tiny:compiled:folded") == Contender("gcvit_tiny", frozenset({"folded", "compiled"}))
    assert str(parse("gcvit_tiny:folded", ["compiled"])) == "gcvit_tiny:folded:compiled"


@pytest.mark.parametrize(
    ("text", "architecture"),
    [
        ("gcvit_tiny:folded", "gcvit_tiny"),
        ("timm/gcvit_tiny.in1k", "gcvit_tiny"),
        ("timm/swin_tiny_patch4_window7_224", None),
    ],
)
def test_architecture(text, architecture):
    assert parse(text).architecture == architecture


def test_what_is_exported_is_folded():
    assert parse("gcvit_tiny:openvino:int8").runtime == "openvino"
    assert parse("gcvit_tiny:openvino:int8").folded
    assert not parse("timm/resnet18:onnx").folded
    assert parse("gcvit_tiny:compiled").runtime is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gcvit_tinny", "gcvit_tiny"),
        ("timm/gcvit_tinny", "timm/gcvit_tiny"),
        ("gcvit_tiny:fold", "folded"),
        ("timm/gcvit_tiny:folded", "our own"),
        ("timm/gcvit_tiny:blocks", "our own"),
        ("gcvit_tiny:onnx:openvino", "one way at a time"),
        ("gcvit_tiny:blocks:compiled", "one way at a time"),
        ("gcvit_tiny:onnx:compiled", "leave compiled out"),
        ("gcvit_tiny:int8", "onnx or openvino"),
        ("gcvit_tiny:aot:int8", "onnx or openvino"),
    ],
)
def test_mistakes_in_names(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_every_form_can_be_asked_for():
    for form in FORMS:
        assert form in parse("gcvit_pico", [form] if form != "int8" else ["int8", "onnx"]).forms


def test_timm_models_take_the_size():
    contenders = [parse("timm/test_vit"), parse("timm/test_efficientnet")]
    (vit, convolutional) = build(contenders, (64, 96))
    for model in (vit, convolutional):
        assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 1000)
    assert timm.create_model("test_vit").patch_embed.img_size != vit.patch_embed.img_size == (64, 96)


def test_backbones_give_maps():
    ours, theirs = build([parse("gcvit_pico:folded"), parse("timm/test_efficientnet")], (64, 96), part="backbone")
    maps = ours(torch.zeros(2, 3, 64, 96))
    assert [map.shape[2:] for map in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert isinstance(theirs(torch.zeros(2, 3, 64, 96)), list)


def test_windows_are_ours_to_choose():
    (model,) = build([parse("gcvit_pico")], (64, 64), windows=(4, 4, 4, 2))
    assert model.config.stage_windows == ((4, 4), (4, 4), (4, 4), (2, 2))


def test_a_model_that_timm_does_not_build_so():
    with torch.device("meta"), pytest.raises(ValueError, match=r"does not build nest_tiny_jx for 50×50 px: .*must div"):
        build([parse("timm/nest_tiny_jx")], (50, 50), same_weights=False, no_drop_path=True)


def test_a_model_without_drop_path_is_built_without_it():
    with torch.device("meta"):
        (model,) = build([parse("timm/vgg11")], (64, 64), same_weights=False, no_drop_path=True)
    assert model(torch.zeros(1, 3, 64, 64, device="meta")).shape == (1, 1000)


def test_drop_path_is_off_where_it_would_be_work():
    contenders = [parse("gcvit_xxtiny"), parse("timm/gcvit_xxtiny")]
    with torch.device("meta"):
        models = build(contenders, (224, 224), same_weights=False, no_drop_path=True)
        usual = build(contenders[:1], (224, 224), same_weights=False)
    assert usual[0].stages[-1].blocks[-1].drop_path.rate > 0
    assert models[0].stages[-1].blocks[-1].drop_path.rate == 0
    assert not any(type(module).__name__ == "DropPath" and module.drop_prob for module in models[1].modules())
