"""Laws of the whole model: any size, batch-mates, folding, gradients, and when the auxiliary head speaks."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from gcvit.factory import create_model
from gcvit.tasks.pyramid import ConvNormReLU
from gcvit.tasks.segment.segmenter import Segmenter
from gcvit.tasks.segment.settings import UPerNetConfig
from gcvit.tasks.segment.upernet import FCNHead
from laws.models import assert_equal, random_images
from tasks.segmenters import CLASSES, segmenter


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (96, 70), (64, 160)])
@torch.no_grad()
def test_any_size_gives_logits_at_a_quarter_rounded_up(size: tuple[int, int]) -> None:
    output = segmenter()(random_images(2, *size))
    assert output.logits.shape == (2, CLASSES, -(-size[0] // 4), -(-size[1] // 4))
    assert output.logits.isfinite().all()


@pytest.mark.parametrize("norm", ["batch", "group"])
@torch.no_grad()
def test_logits_do_not_depend_on_batch_mates(norm: str) -> None:
    model, images = segmenter(norm=norm), random_images(3, 70, 96)
    together = model(images).logits
    for index in range(3):
        assert_equal(model(images[index : index + 1]).logits, together[index : index + 1], f"image {index}")
    other = images.clone()
    other[1:] = random_images(2, 70, 96, seed=9)
    assert_equal(model(other).logits[:1], together[:1], "image 0 with others beside it")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)], ids=["32", "64"])
@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("size", [(33, 47), (96, 96)])
@torch.no_grad()
def test_a_folded_copy_computes_the_same(
    size: tuple[int, int], norm: str, dtype: torch.dtype, tolerance: float
) -> None:
    model, images = segmenter(norm=norm).to(dtype), random_images(2, *size, dtype=dtype)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = model(images).logits
    folded = model.train().fold()
    assert_equal(folded(images).logits, expected, "folded logits", tolerance)
    assert not folded.training
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    after = model.state_dict()
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before), "folding has changed the model"
    for parameter in model.parameters():
        parameter.zero_()
    assert_equal(folded(images).logits, expected, "folded logits of a model that changed", tolerance)


@torch.no_grad()
def test_the_check_notices_a_lost_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test before this one can fail."""

    def forget(layer: ConvNormReLU) -> None:
        assert isinstance(layer.norm, nn.BatchNorm2d)
        assert layer.norm.running_mean is not None
        layer.norm.running_mean.zero_()

    monkeypatch.setattr(ConvNormReLU, "fuse", forget)
    model, images = segmenter(), random_images(2, 64, 64)
    with pytest.raises(AssertionError, match="folded logits"):
        assert_equal(model.fold()(images).logits, model(images).logits, "folded logits", 1e-4)


def test_folding_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="folded"):
        segmenter().fold().fold()


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_every_parameter_gets_a_gradient(norm: str) -> None:
    torch.manual_seed(0)
    model = segmenter(norm=norm, dropout=0.0).train()
    output = model(random_images(2, 96, 96))
    assert output.auxiliary is not None
    (output.logits.square().sum() + output.auxiliary.square().sum()).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


def test_the_auxiliary_head_speaks_in_training_only() -> None:
    model, images = segmenter(), random_images(2, 64, 96)
    trained = model.train()(images)
    assert trained.auxiliary is not None
    assert trained.auxiliary.shape == (2, CLASSES, 4, 6)

    def refuse(*_: object) -> None:
        raise AssertionError("inference has computed the auxiliary head")

    assert model.auxiliary_head is not None
    model.auxiliary_head.register_forward_pre_hook(refuse)
    assert model.eval()(images).auxiliary is None
    assert model.fold()(images).auxiliary is None
    without = segmenter(aux_weight=0.0)
    assert without.auxiliary_head is None
    assert without.train()(images).auxiliary is None
    assert not any(isinstance(module, FCNHead) for module in without.modules())


def test_each_map_has_a_norm_of_its_own() -> None:
    model, images = segmenter(), random_images(1, 64, 64)
    expected = model(images).logits
    for norm in model.norms:
        assert isinstance(norm, nn.LayerNorm)
        with torch.no_grad():
            norm.weight.mul_(-1)
        changed = model(images).logits
        assert not torch.allclose(changed, expected)
        expected = changed
    assert [norm.normalized_shape[0] for norm in model.norms] == list(model.backbone.config.channels)  # type: ignore[index,union-attr]


def test_gradient_checkpointing_changes_no_gradient() -> None:
    model, images = segmenter(dropout=0.0).train(), random_images(2, 64, 64)
    gradients = []
    for enable in (False, True):
        model.backbone.set_grad_checkpointing(enable)
        model.zero_grad()
        model(images).logits.sum().backward()
        gradients.append([None if p.grad is None else p.grad.clone() for p in model.parameters()])
    assert all((a is None) == (b is None) for a, b in zip(*gradients, strict=True))
    assert all(torch.allclose(a, b) for a, b in zip(*gradients, strict=True) if a is not None and b is not None)


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="head=False"):
        Segmenter(create_model("gcvit_pico"), CLASSES, UPerNetConfig(channels=8))
    with pytest.raises(ValueError, match="too small"):
        segmenter()(random_images(1, 31, 64))
    with pytest.raises(ValueError, match="3 channels, not 4"):
        segmenter()(random_images(1, 64, 64, channels=4))


def test_any_of_our_backbones() -> None:
    for name, windows in (("gcvit_pico", None), ("gcvit_small", (32, 32, 32, 32)), ("gcvit_large", None)):
        with torch.device("meta"):
            backbone = create_model(name, img_size=512, windows=windows, head=False)
            model = Segmenter(backbone, 7, replace(UPerNetConfig(), channels=16))
            assert model.eval()(torch.empty(1, 3, 512, 512)).logits.shape == (1, 7, 128, 128)
