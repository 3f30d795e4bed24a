"""Every ablation obeys the model's laws, and differs from the model in what it says and nothing else."""

from dataclasses import replace

import pytest
import timm
import torch
import torch.nn.functional as F

from gcvit.errors import UserError
from gcvit.model import GCViT, windows
from gcvit.model.ablations import ATTENTION
from gcvit.model.attention import LocalAttention
from gcvit.model.config import DESIGN, GCViTConfig
from gcvit.weights.loading import load_weights
from gcvit.weights.names import shapes_of
from laws.models import SMALL, assert_equal, random_images, small_model
from laws.test_batch import check_batch
from laws.test_padding import fill_padding_with_noise
from laws.weights import meaningful_weights

S2 = ("global_v", "global_v_projected", "global_kv", "global_kv_two_generators", "global_kv_same")
DESIGNS = {
    "swin": {"stem": "patch", "downsampler": "patch_merging", "blocks": ("local", "shifted")},
    "local only": {"blocks": ("local", "local")},
    "global only": {"blocks": ("global", "global")},
    **{kind: {"blocks": ("local", kind)} for kind in S2},
    **{f"{name} {value}": {name: value} for name, choices in DESIGN.items() for value in choices[1:]},
}
designs = pytest.mark.parametrize("changes", DESIGNS.values(), ids=DESIGNS)


@designs
def test_images_do_not_see_their_batch_mates(changes):
    check_batch(small_model(**changes))


@designs
@torch.no_grad()
def test_a_folded_copy_computes_the_same(changes):
    model, images = small_model(**changes), random_images(2, 96, 70)
    expected, actual = (m.trace(images, "all") for m in (model, model.fold()))
    assert_equal(actual.logits, expected.logits, "folded logits")
    for at, weights in expected.attention.items():
        assert_equal(actual.attention[at], weights, f"folded attention {at}")
    assert_equal(model(images), expected.logits, "logits and those of trace")


class Cosine(LocalAttention):
    """Scores that are no products of what the linear layer makes."""

    def queries_keys_values(self, tokens, query):
        q, k, v = super().queries_keys_values(tokens, query)
        return 9 * F.normalize(q, dim=-1), 9 * F.normalize(k, dim=-1), v


class Sigmoid(LocalAttention):
    """Weights that do not sum to 1."""

    def attend(self, q, k, v, bias, closed=False):
        return ((q @ k.mT * self.scale + bias).sigmoid() @ v).transpose(2, 3)


@pytest.mark.parametrize("kind", [Cosine, Sigmoid])
@torch.no_grad()
def test_another_kind_of_attention_is_folded_as_far_as_it_is_the_papers(kind, monkeypatch):
    monkeypatch.setitem(ATTENTION, "local", kind)
    model, images = small_model(windows=(6, 3, 3, 3)), random_images(2, 96, 96)
    folded = model.fold()
    assert_equal(folded(images), model(images), "folded logits")
    assert not any(stage.fusible for stage in folded.stages)
    monkeypatch.undo()
    ours = small_model(windows=(6, 3, 3, 3))
    ours.load_state_dict(model.state_dict())
    with pytest.raises(AssertionError, match="another kind"):
        assert_equal(model(images), ours(images), "another kind")


@designs
def test_what_stands_in_padding_changes_nothing(changes, monkeypatch):
    model, images = small_model(windows=(5, 5, 4, 2), **changes), random_images(2, 96, 96)
    expected = model(images)
    noisy = fill_padding_with_noise(monkeypatch, 1000.0, seed=1)
    assert_equal(model(images), expected, "logits, noise in the padding")
    assert len(noisy) == 4
    assert all(noisy)


@designs
def test_every_parameter_learns_and_has_its_shape_from_the_configuration(changes):
    model = small_model(**changes).train()
    model(random_images(2, 96, 96)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert shapes_of(model.config) == {name: tuple(x.shape) for name, x in model.state_dict().items()}


@designs
def test_every_size_and_the_gradients_kept_for_less_memory(changes):
    model = small_model(**changes)
    for size in ((96, 96), (33, 70), (50, 32)):
        images = random_images(1, *size)
        maps = model.pyramid(images)
        assert [m.shape[2:] for m in maps] == [tuple(-(-s // 2**n) for s in size) for n in (2, 3, 4, 5)]
        assert all(m.isfinite().all() for m in maps)
    model.set_input_size(64, windows=3)
    assert model(images).isfinite().all()
    assert model.config.windows == ((3, 3),) * 4


def swins(shifted, size=(96, 96)):
    """timm's Swin and ours on its weights."""
    sizes = {"embed_dim": 8, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 2, 4)}
    theirs = timm.models.swin_transformer.SwinTransformer(size, window_size=3, num_classes=11, mlp_ratio=2.0, **sizes)
    meaningful_weights(theirs.double()).eval()
    for stage in () if shifted else theirs.layers:
        for block in stage.blocks:
            block.shift_size, block.attn_mask = (0, 0), None
    changes = DESIGNS["swin"] | {"blocks": ("local", "shifted" if shifted else "local"), "windows": 3}
    ours = small_model(**changes)
    report = load_weights(ours, theirs.state_dict())
    assert report.layout == "swin"
    assert (report.loaded, report.resized, report.dropped) == (len(ours.state_dict()), [], [])
    return theirs, ours


@torch.no_grad()
def test_swin_is_timms_with_shifts_and_without():
    images = random_images(2, 96, 96)
    found = []
    for shifted in (True, False):
        theirs, ours = swins(shifted)
        found.append(ours(images))
        assert_equal(found[-1], theirs(images), "logits of timm's Swin and ours")
    assert (found[0] - found[1]).norm() > 0.1 * found[0].norm(), "shifting changes nothing"


@torch.no_grad()
def test_swin_shifts_along_the_side_that_has_more_than_one_window():
    theirs, ours = swins(True, (192, 96))
    images = random_images(1, 192, 96)
    assert_equal(ours(images), theirs(images), "logits at another size")


def of_one_window(model, what):
    """Where the stage's input has a gradient of what its first window gives: for each window, whether there is any."""
    x = torch.randn(1, 10, 10, 8, dtype=torch.float64, requires_grad=True)
    what(model.stages[0], x).square().sum().backward()
    grads = windows.split(x.grad, (5, 5))[0]
    return [bool(grad.any()) for grad in grads]


def output(stage, x):
    return windows.split(stage(x), (5, 5))[:, 0]


def attention(stage, x):
    """Of the second block's own weights, in the first window."""
    block, tokens = stage.blocks[1].attention, windows.split(x, (5, 5))
    q, k, _ = block.queries_keys_values(tokens, stage.query(x))
    return block.weights(q, k, None)[0][:, 0]


@pytest.mark.parametrize(
    ("kinds", "outputs", "weights"),
    [
        (("local", "local"), False, None),
        (("local", "global"), True, True),
        (("local", "global_v"), True, False),
        (("local", "global_v_projected"), True, False),
        (("local", "global_kv"), True, True),
        (("local", "global_kv_two_generators"), True, True),
        (("local", "global_kv_same"), True, True),
    ],
)
def test_what_goes_from_window_to_window(kinds, outputs, weights):
    """Nothing without a generator; with global V what is looked at, while where to look is the window's own matter."""
    model = small_model(blocks=kinds)
    assert of_one_window(model, output) == [True] + [outputs] * 3
    if weights is not None:
        assert of_one_window(model, attention) == [True] + [weights] * 3


def test_shifted_windows_reach_their_neighbours_alone():
    x = torch.randn(1, 20, 20, 8, dtype=torch.float64, requires_grad=True)
    stage = small_model(blocks=("local", "shifted")).stages[0]
    windows.split(stage(x), (5, 5))[:, 0].square().sum().backward()
    reached = windows.split(x.grad, (5, 5))[0].flatten(1).any(1).view(4, 4)
    assert reached.tolist() == [[True, True, False, False]] * 2 + [[False] * 4] * 2


def test_without_a_bias_tokens_have_no_places():
    for kind, same in ((True, False), (False, True)):
        block = small_model(position_bias=kind).stages[0].blocks[0]
        tokens, order = torch.randn(1, 2, 25, 8, dtype=torch.float64), torch.randperm(25)
        layout = windows.Layout()
        found, expected = block(tokens[:, :, order], None, layout), block(tokens, None, layout)[:, :, order]
        assert torch.allclose(found, expected) == same


def test_key_values_of_the_generator_know_no_padding():
    """Every query of the same window sees all of them; with keys of its own it sees none of the padding's."""
    for kind, any_hidden in (("global_v", True), ("global_kv", False)):
        trace = small_model(blocks=("local", kind)).trace(random_images(1, 96, 96), [(0, 1)])
        assert bool((trace.attention[0, 1] == 0).any()) == any_hidden


@pytest.mark.parametrize("first", [False, True])
def test_table_5s_pair(first):
    model = small_model(downsampler="pool_conv" if first else "conv_pool")
    down, x = model.stages[0].downsample, torch.randn(2, 9, 12, 8, dtype=torch.float64)
    y = down.norm1(x).permute(0, 3, 1, 2)
    for pool in (first, not first):
        y = F.max_pool2d(y, 3, 2, 1) if pool else F.conv2d(y, down.conv.weight, padding=1)
    assert_equal(down(x), down.norm2(y.permute(0, 2, 3, 1)), "convolution and pooling")


@torch.no_grad()
def test_padding_that_is_attended_to_is_zeros():
    """As the published dense code has it: behind the norm, in front of each block's own linear layer."""
    model = small_model(mask_padding=False)
    block, tokens = model.stages[0].blocks[0], torch.randn(1, 1, 25, 8, dtype=torch.float64)
    outside = torch.zeros(1, 25, dtype=torch.bool)
    outside[:, 20:] = True
    normed = block.norm1(tokens)
    normed[:, :, 20:] = 0
    expected = block.attention(normed, None, windows.Layout())
    assert_equal(block.attention(block.norm1(tokens), None, windows.Layout(zeroed=outside)), expected, "attention")
    assert model.stages[0].layout(torch.empty(1, 5, 4, 1)).zeroed is not None


@torch.no_grad()
def test_a_generator_without_convolutions_only_pools():
    generator, x = small_model(query_convolutions=False).stages[0].query, torch.randn(1, 20, 20, 8, dtype=torch.float64)
    pooled = F.max_pool2d(F.max_pool2d(x.permute(0, 3, 1, 2), 3, 2, 1), 3, 2, 1).flatten(2).transpose(1, 2)
    assert_equal(generator(x).transpose(1, 2).flatten(2), pooled, "query")


def test_the_papers_design_costs_and_changes_nothing():
    config = replace(SMALL, blocks=["local", "global"])
    assert config == SMALL
    assert SMALL.plain
    assert not any(replace(SMALL, **changes).plain for changes in DESIGNS.values())
    assert [type(stage.query).__name__ for stage in GCViT(SMALL).stages] == ["GlobalQuery"] * 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": ("local",)}, "blocks must be two, each local, global"),
        ({"blocks": ("local", "globe")}, "blocks must be two"),
        ({"blocks": ("global", "global_kv_two_generators")}, "goes with local or shifted alone"),
        ({"stem": "patches"}, "stem must be conv or patch"),
        ({"squeeze_excite": 0}, "squeeze_excite must be true or false"),
        ({"query_resize": ["nearest"]}, "query_resize must be bicubic, bilinear or nearest"),
    ],
)
def test_designs_that_are_none(changes, message):
    with pytest.raises(UserError, match=message):
        GCViTConfig(**changes)
