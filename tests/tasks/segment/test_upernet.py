"""UPerNet against the paper's figure in plain functions, its norms, and what it starts from."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gcvit.tasks.pyramid import ConvNormReLU
from gcvit.tasks.segment.settings import UPerNetConfig
from gcvit.tasks.segment.upernet import FCNHead, UPerNet
from laws.models import assert_equal
from tasks.segmenters import CLASSES, HEAD, matter

CHANNELS = (6, 10, 14, 18)
State = dict[str, Tensor]


def maps(*sizes: tuple[int, int], batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)
        for channels, size in zip(CHANNELS, sizes, strict=True)
    ]


SIZES = {
    "halving": ((24, 16), (12, 8), (6, 4), (3, 2)),
    "rounded up": ((9, 12), (5, 6), (3, 3), (2, 2)),
    "one token": ((8, 8), (4, 4), (2, 2), (1, 1)),
}


def conv_norm_relu(x: Tensor, state: State, name: str) -> Tensor:
    """A convolution by unfolding, and the batch norm written out."""
    weight = state[f"{name}.conv.weight"]
    size = weight.shape[2]
    patches = F.unfold(x, size, padding=size // 2)
    y = (weight.flatten(1) @ patches).unflatten(2, x.shape[2:])
    gain = state[f"{name}.norm.weight"] / (state[f"{name}.norm.running_var"] + 1e-5).sqrt()
    mean, shift = state[f"{name}.norm.running_mean"], state[f"{name}.norm.bias"]
    return ((y - mean[:, None, None]) * gain[:, None, None] + shift[:, None, None]).clamp_min(0)


def average(x: Tensor, cells: int) -> Tensor:
    """Cell i of a side of n covers floor(i n / cells) to ceil((i + 1) n / cells)."""
    height, width = x.shape[2:]
    rows = [slice(i * height // cells, -(-(i + 1) * height // cells)) for i in range(cells)]
    columns = [slice(i * width // cells, -(-(i + 1) * width // cells)) for i in range(cells)]
    return torch.stack([torch.stack([x[:, :, r, c].mean((2, 3)) for c in columns], 2) for r in rows], 2)


def bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixel centres aligned, edges repeated."""

    def along(x: Tensor, axis: int, count: int) -> Tensor:
        old = x.shape[axis]
        at = ((torch.arange(count, dtype=torch.float64) + 0.5) * old / count - 0.5).clamp(0, old - 1)
        low = at.floor().long()
        shape = [1] * 4
        shape[axis] = count
        share = (at - low).view(shape)
        return (1 - share) * x.index_select(axis, low) + share * x.index_select(axis, (low + 1).clamp_max(old - 1))

    return along(along(x, 2, size[0]), 3, size[1])


def as_in_the_figure(maps: list[Tensor], state: State, bins: tuple[int, ...] = HEAD.bins) -> Tensor:
    """Figure 4 of the paper, one line after the other, without this package's layers."""
    c2, c3, c4, c5 = maps
    pooled = [
        bilinear(conv_norm_relu(average(c5, cells), state, f"pooling.branches.{i}"), c5.shape[2:])
        for i, cells in enumerate(bins)
    ]
    p5 = conv_norm_relu(torch.cat([c5, *pooled], 1), state, "pooling.merge")
    p4 = conv_norm_relu(c4, state, "laterals.2") + bilinear(p5, c4.shape[2:])
    p3 = conv_norm_relu(c3, state, "laterals.1") + bilinear(p4, c3.shape[2:])
    p2 = conv_norm_relu(c2, state, "laterals.0") + bilinear(p3, c2.shape[2:])
    levels = [
        conv_norm_relu(p2, state, "outputs.0"),
        bilinear(conv_norm_relu(p3, state, "outputs.1"), c2.shape[2:]),
        bilinear(conv_norm_relu(p4, state, "outputs.2"), c2.shape[2:]),
        bilinear(p5, c2.shape[2:]),
    ]
    fused = conv_norm_relu(torch.cat(levels, 1), state, "fusion")
    weight, bias = state["classifier.weight"], state["classifier.bias"]
    return torch.einsum("kc,bchw->bkhw", weight[:, :, 0, 0], fused) + bias[:, None, None]


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_papers_figure(sizes: tuple[tuple[int, int], ...]) -> None:
    head = matter(UPerNet(CHANNELS, CLASSES, HEAD))
    with torch.no_grad():
        assert_equal(head(maps(*sizes)), as_in_the_figure(maps(*sizes), head.state_dict()), "logits")


def test_the_figure_with_other_bins_tells_them_apart() -> None:
    """So that the test before this one can fail."""
    head = matter(UPerNet(CHANNELS, CLASSES, HEAD))
    given = maps(*SIZES["halving"])
    with torch.no_grad(), pytest.raises(AssertionError, match="relative error"):
        assert_equal(head(given), as_in_the_figure(given, head.state_dict(), (1, 2, 3, 5)), "logits")


def test_the_auxiliary_head() -> None:
    head, x = matter(FCNHead(14, CLASSES, HEAD)), maps(*SIZES["rounded up"])[2]
    state = head.state_dict()
    hidden = conv_norm_relu(x, state, "conv")
    expected = torch.einsum("kc,bchw->bkhw", state["classifier.weight"][:, :, 0, 0], hidden)
    assert_equal(head(x), expected + state["classifier.bias"][:, None, None], "auxiliary logits")


def test_group_norm_sees_one_image_alone_and_batch_norm_all_of_them() -> None:
    given = maps(*SIZES["halving"])
    alone = [x[:1] for x in given]
    for norm, same in (("group", True), ("batch", False)):
        config = UPerNetConfig(channels=12, norm=norm, dropout=0.0)  # type: ignore[arg-type]
        head = matter(UPerNet(CHANNELS, CLASSES, config)).train()
        together = head(given)[:1]
        if same:
            assert_equal(head(alone), together, "logits")
        else:
            with pytest.raises(ValueError, match="more than 1 value per channel"):
                head(alone)


def test_dropout_is_of_whole_channels_and_in_training_only() -> None:
    head = matter(UPerNet(CHANNELS, CLASSES, UPerNetConfig(channels=12, norm="group", dropout=0.5)))
    seen: list[Tensor] = []
    head.classifier.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    given = maps(*SIZES["halving"])
    head.eval()(given)
    head.train()(given)
    kept, dropped = (x.flatten(2).abs().amax(2) for x in seen)
    assert (dropped == 0).sum() > (kept == 0).sum()
    ratio = seen[1] / seen[0].where(seen[0] != 0, torch.ones(()).double())
    alive = (dropped > 0) & (kept > 0)
    assert alive.any()
    assert torch.allclose(ratio[alive].amax(-1).amax(-1), torch.tensor(2.0, dtype=torch.float64))


def test_it_starts_undecided_and_keeps_the_variance() -> None:
    torch.manual_seed(0)
    head = UPerNet((32, 64, 128, 256), 20, UPerNetConfig(channels=64, dropout=0.0)).train()
    given = [torch.randn(2, c, 4 * s, 4 * s) for c, s in zip((32, 64, 128, 256), (8, 4, 2, 1), strict=True)]
    logits = head(given)
    assert logits.softmax(1).amax() < 3 / 20
    for module in head.modules():
        if isinstance(module, ConvNormReLU):
            fan_out = module.conv.weight.shape[0] * module.conv.weight[0, 0].numel()
            assert module.conv.bias is None
            assert module.conv.weight.var().item() == pytest.approx(2 / fan_out, rel=0.1)
