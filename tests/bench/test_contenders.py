"""Names of contenders, and models that share weights: equal until one of them is wrong."""

import pytest
import timm
import torch

from gcvit.bench.contenders import Contender, build, differences, parse
from gcvit.model.gcvit import GCViT

SIZE = 128  # the smallest at which timm's windows and ours are the same, several of them in the first stages
TWINS = [parse(text) for text in ("timm/gcvit_xxtiny", "gcvit_xxtiny", "gcvit_xxtiny:folded")]


@pytest.fixture(scope="module")
def twins():
    return build(TWINS, SIZE, same_weights=True)


def test_names_are_written_as_they_are_read():
    for text in ("gcvit_tiny", "timm/resnet18:channels_last", "gcvit_tiny:folded:channels_last:compiled"):
        assert str(parse(text)) == text
    assert parse("gcvit_tiny:compiled:folded") == Contender("gcvit_tiny", folded=True, compiled=True)


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gcvit_tinny", "gcvit_tiny"),
        ("timm/gcvit_tinny", "timm/gcvit_tiny"),
        ("gcvit_tiny:fold", "folded"),
        ("timm/gcvit_tiny:folded", "only our own"),
    ],
)
def test_mistakes_in_names(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_twins_are_equal(twins):
    first, *others = differences(TWINS, twins, SIZE)
    assert first is None
    assert all(0 <= other < 1e-5 for other in others)
    assert isinstance(twins[2], GCViT)
    assert not any(parameter.requires_grad for parameter in twins[2].parameters())


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_wrong_twin_is_found(twins, value):
    table = twins[1].stages[2].blocks[3].attention.bias.table
    kept = table.detach().clone()
    with torch.no_grad():
        table.fill_(value)
    try:
        with pytest.raises(ValueError, match="gcvit_xxtiny and timm/gcvit_xxtiny have the same weights"):
            differences(TWINS, twins, SIZE)
    finally:
        with torch.no_grad():
            table.copy_(kept)


def test_without_the_same_weights_models_keep_their_own():
    contenders = [parse("gcvit_pico"), parse("gcvit_pico")]
    apart = build(contenders, 64, same_weights=False)
    assert not torch.equal(apart[0].head.weight, apart[1].head.weight)
    alike = build(contenders, 64, same_weights=True)
    assert torch.equal(alike[0].head.weight, alike[1].head.weight)


def test_a_size_at_which_windows_differ():
    with pytest.raises(ValueError, match="windows of other sizes"):
        build(TWINS[:2], 64, same_weights=True)


def test_timm_models_take_the_size():
    (vit, convolutional) = build([parse("timm/test_vit"), parse("timm/test_efficientnet")], 64, same_weights=True)
    for model in (vit, convolutional):
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
    assert timm.create_model("test_vit").patch_embed.img_size != vit.patch_embed.img_size == (64, 64)


def test_a_model_that_timm_does_not_build_so():
    with torch.device("meta"), pytest.raises(ValueError, match=r"does not build nest_tiny_jx for 50 px: .*must divide"):
        build([parse("timm/nest_tiny_jx")], 50, same_weights=False, no_drop_path=True)


def test_a_model_without_drop_path_is_built_without_it():
    with torch.device("meta"):
        (model,) = build([parse("timm/vgg11")], 64, same_weights=False, no_drop_path=True)
    assert model(torch.zeros(1, 3, 64, 64, device="meta")).shape == (1, 1000)


def test_drop_path_is_off_where_it_would_be_work():
    contenders = [parse("gcvit_xxtiny"), parse("timm/gcvit_xxtiny")]
    with torch.device("meta"):
        models = build(contenders, 224, same_weights=False, no_drop_path=True)
        usual = build(contenders[:1], 224, same_weights=False)
    assert usual[0].stages[-1].blocks[-1].drop_path.rate > 0
    assert models[0].stages[-1].blocks[-1].drop_path.rate == 0
    assert not any(type(module).__name__ == "DropPath" and module.drop_prob for module in models[1].modules())
