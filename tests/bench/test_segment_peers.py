"""Peers keep our calling convention: any size, logits at a quarter, gradients everywhere, folding, batch-mates."""

import builtins
from collections.abc import Callable
from dataclasses import replace

import pytest
import timm
import torch
from torch import Tensor

from gcvit.bench.cost import parameters
from gcvit.bench.peers import SWIN_SIZES, SmpSegmenter, SwinPyramid, TimmPyramid, backbone, pad_to, swin
from gcvit.model import GCViT
from gcvit.tasks.segment.segmenter import SegmentationModel, Segmenter
from gcvit.tasks.segment.settings import UPerNetConfig

HEAD = UPerNetConfig(channels=8, aux_channels=4, dropout=0.0)


def small_swin(head: UPerNetConfig = HEAD) -> Segmenter:
    return Segmenter(SwinPyramid(swin(8, (2, 2, 2, 2), (1, 2, 2, 4), window=4, drop_path=0.0)), 5, head)


def small_smp() -> SmpSegmenter:
    pytest.importorskip("segmentation_models_pytorch")
    return SmpSegmenter("resnet18", 5, channels=8)


PEERS = {"swin": small_swin, "smp": small_smp}


def images(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
@pytest.mark.parametrize("size", [(33, 47), (64, 64), (70, 96)])
@torch.no_grad()
def test_any_size(peer: Callable[[], SegmentationModel], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = peer().eval()
    both = model(images(2, *size))
    assert both.logits.shape == (2, 5, -(-size[0] // 4), -(-size[1] // 4))
    assert both.auxiliary is None
    alone = model(images(2, *size)[1:])
    torch.testing.assert_close(alone.logits, both.logits[1:], rtol=1e-4, atol=1e-5)
    folded = model.train().fold()
    assert not folded.training
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    torch.testing.assert_close(folded(images(2, *size)).logits, both.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_every_parameter_gets_a_gradient(peer: Callable[[], SegmentationModel]) -> None:
    torch.manual_seed(0)
    model = peer().train()
    output = model(images(2, 64, 96))
    loss = output.logits.square().sum()
    if output.auxiliary is not None:
        loss = loss + output.auxiliary.square().sum()
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert (output.auxiliary is None) == isinstance(model, SmpSegmenter)


def test_what_is_called_timms_is_timms() -> None:
    with torch.device("meta"):
        assert isinstance(backbone("timm/gcvit_tiny", 64, None), TimmPyramid)
        assert isinstance(backbone("gcvit_tiny", 64, None), GCViT)
        assert isinstance(backbone("swin_tiny", 64, None), SwinPyramid)


def test_swin_has_the_heads_of_ours() -> None:
    model = small_swin()
    assert [norm.normalized_shape[0] for norm in model.norms] == [8, 16, 32, 64]  # type: ignore[index,union-attr]
    maps = model.backbone.pyramid(images(1, 64, 96))
    assert [tuple(x.shape[1:]) for x in maps] == [(8, 16, 24), (16, 8, 12), (32, 4, 6), (64, 2, 3)]
    assert small_swin(replace(HEAD, aux_weight=0.0)).auxiliary_head is None


@pytest.mark.parametrize("name", SWIN_SIZES)
def test_swins_sizes_are_timms(name: str) -> None:
    with torch.device("meta"):
        ours = swin(*SWIN_SIZES[name])
        theirs = timm.create_model(f"{name}_patch4_window7_224", num_classes=0)
    assert {n: p.shape for n, p in ours.named_parameters()} == {n: p.shape for n, p in theirs.named_parameters()}


def test_swins_windows_stay_at_any_size() -> None:
    """Attention reaches no further than a window: two blocks per stage, shifted, so a far corner does not move the
    first map."""
    model = small_swin().eval()
    first = images(1, 128, 128)
    other = first.clone()
    other[:, :, 96:, 96:] += 1
    with torch.no_grad():
        a, b = model.backbone.pyramid(first)[0], model.backbone.pyramid(other)[0]
    assert torch.equal(a[:, :, :16, :16], b[:, :, :16, :16])
    assert not torch.equal(a[:, :, 24:, 24:], b[:, :, 24:, 24:])


def test_padding() -> None:
    x = images(1, 33, 64)
    assert pad_to(x, 1) is x
    assert pad_to(x[:, :, :32], 32).shape == (1, 3, 32, 64)
    padded = pad_to(x, 32)
    assert padded.shape == (1, 3, 64, 64)
    assert torch.equal(padded[:, :, :33], x)
    assert not padded[:, :, 33:].any()


def test_the_extra_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "segmentation_models_pytorch":
            raise ImportError("No module named 'segmentation_models_pytorch'")
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"-m pip install '\.\[interop\]'"):
        SmpSegmenter("resnet18", 5)


def test_smps_logits_are_its_own_at_a_quarter() -> None:
    model = small_smp().eval()
    x = images(1, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(model(x).logits, model.model(x))


def test_smps_encoder_takes_timms_words() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    whole = SmpSegmenter("tu-resnet18", 5, channels=8)
    quarter = SmpSegmenter("tu-resnet18", 5, channels=8, encoder_settings={"channels": (16, 32, 64, 128)})
    assert parameters(quarter) < parameters(whole) / 10
    assert quarter.eval()(images(1, 64, 64)).logits.shape == (1, 5, 16, 16)
