"""Compiled blocks: what they compute, and how many pieces of code they need."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from gcvit.model import GCViT
from gcvit.model.compiling import compile_blocks
from gcvit.tasks.segment.segmenter import Segmenter
from gcvit.tasks.segment.settings import UPerNetConfig
from laws.models import SMALL, assert_equal, images32, random_images, small_model
from laws.weights import meaningful_weights

PADDED = SMALL.windows
WHOLE = ((8, 8), (4, 4), (2, 2), (2, 2))  # at 64 px: 4, 4, 4 and 1 windows
STAGES, KINDS = 4, 2


class Counting:
    """A backend that notes the graphs and runs them as they are."""

    def __init__(self):
        torch._dynamo.reset()
        self.graphs = []

    def __call__(self, graph, inputs):
        self.graphs.append(graph)
        return graph


@pytest.fixture
def backend():
    return Counting()


def single(**changes):
    return small_model(dtype=torch.float32, **{"img_size": (64, 64), "windows": WHOLE} | changes)


def maps32(count, height, width):
    """What the first stage takes."""
    return random_images(count, height, width, channels=SMALL.dim, dtype=torch.float32).permute(0, 2, 3, 1).contiguous()


def gradients(model, images):
    torch.manual_seed(0)
    loss = model(images).square().sum()
    return dict(zip(dict(model.named_parameters()), torch.autograd.grad(loss, model.parameters()), strict=True))


@torch.no_grad()
@pytest.mark.parametrize("folded", [False, True], ids=["model", "folded"])
@pytest.mark.parametrize("windows", [WHOLE, PADDED], ids=["whole", "padded"])
def test_inference_needs_one_graph_for_each_kind_and_stage(folded, windows, backend):
    """Whatever the depth, for any number of images, and for any size that leaves padding where the first one did."""
    model = single(windows=windows, depths=(3, 2, 4, 2), layer_scale=0.1)
    model = model.fold() if folded else model
    plain = deepcopy(model)
    assert compile_blocks(model, backend=backend) is model
    for images in (images32(3), images32(7), images32(1), images32(2, 128, 192), images32(1, 192, 128)):
        assert_equal(model(images), plain(images), f"logits of {tuple(images.shape)}", 1e-5)
        assert len(backend.graphs) == STAGES * KINDS


@torch.no_grad()
def test_padding_is_one_more_graph(backend):
    stage = compile_blocks(nn.Sequential(single().stages[0]), backend=backend)
    for size in ((16, 16), (18, 16), (16, 23), (25, 30), (32, 16)):
        stage(maps32(2, *size))
    assert len(backend.graphs) == 2 * KINDS


def test_training_needs_no_graph_for_each_rate_of_drop_path(backend):
    """All of a kind share one in each of two stages, but for the very first block, which nothing drops."""
    one, two, *_ = single(depths=(4, 3, 2, 2), drop_path=0.3, layer_scale=0.1).stages
    model = nn.Sequential(one, one.downsample, two).train()
    two.downsample = nn.Identity()  # the stage's parent calls it
    plain = deepcopy(model)
    compile_blocks(model, backend=backend)
    for count in (4, 6, 3):
        maps = maps32(count, 16, 16)
        expected, found = gradients(plain, maps), gradients(model, maps)
        for name, gradient in expected.items():
            assert_equal(found[name], gradient, f"gradient of {name}", 1e-4)
        assert len(backend.graphs) == 2 * KINDS + 1
    (first, *_) = expected
    assert not torch.equal(gradients(model.eval(), maps)[first], expected[first])


def test_differentiated_by_the_compiler():
    """Forward and backward pass as every compiler takes them, with checkpoints and in mixed precision."""
    torch._dynamo.reset()
    model, images = nn.Sequential(single(windows=PADDED).stages[0]).train(), maps32(2, 12, 12)
    model[0].downsample = nn.Identity()  # the stage's parent calls it
    plain = deepcopy(model)
    compile_blocks(model, backend="aot_eager")
    for checkpointing in (False, True):
        model[0].grad_checkpointing = checkpointing
        expected, found = gradients(plain, images), gradients(model, images)
        for name, gradient in expected.items():
            assert_equal(found[name], gradient, f"gradient of {name}", 1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = gradients(model, images)
        for name, gradient in gradients(plain, images).items():
            assert mixed[name].dtype == torch.float32
            assert_equal(mixed[name], gradient, f"gradient of {name} under autocast", 0.05)


@torch.no_grad()
def test_weights_sizes_and_types_may_change(backend):
    """What is compiled reads the weights that are there now; seen on the first stage, for compiling takes its time."""
    model = single(windows=None)
    names = list(model.state_dict())
    compile_blocks(model, backend=backend)
    assert list(model.state_dict()) == names
    model.stages[0](maps32(2, 16, 16))
    other = meaningful_weights(GCViT(model.config), seed=5).eval()
    model.load_state_dict(other.state_dict())
    ours, theirs, maps = model.stages[0], other.stages[0], maps32(2, 16, 16)
    assert_equal(ours(maps), theirs(maps), "map of other weights", 1e-5)
    assert len(backend.graphs) == KINDS
    for changed in (model, other):
        changed.set_input_size((128, 96))
    maps = maps32(2, 32, 24)
    assert_equal(ours(maps), theirs(maps), "map of another size", 1e-5)
    assert_equal(ours.double()(maps.double()), theirs.double()(maps.double()), "map in float64")


@torch.no_grad()
def test_inference_in_mixed_precision(backend):
    stage = nn.Sequential(single(windows=PADDED).stages[0])
    plain = deepcopy(stage)
    compile_blocks(stage, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        for count in (2, 1):
            found, expected = stage(maps32(count, 12, 12)), plain(maps32(count, 12, 12))
            assert found.dtype == expected.dtype
            assert_equal(found, expected, f"map of {count}", 0.05)
    assert len(backend.graphs) == KINDS


@torch.no_grad()
def test_a_copy_is_not_compiled(backend):
    model, maps = compile_blocks(single(), backend=backend), maps32(2, 16, 16)
    for copy in (deepcopy(model), model.fold()):
        assert_equal(copy.stages[0](maps), model.eval().stages[0](maps), "map of a copy", 1e-5)
    compiled = len(backend.graphs)
    model.fold().stages[0](maps)
    assert len(backend.graphs) == compiled == KINDS


@torch.no_grad()
def test_segmenters_are_compiled(backend):
    backbone = GCViT(replace(SMALL, head=False, num_classes=0))
    model = meaningful_weights(Segmenter(backbone, 5, UPerNetConfig(channels=8, aux_channels=8))).eval().fold()
    plain = deepcopy(model)
    compile_blocks(model, backend=backend)
    for count in (2, 1):
        images = images32(count, 96, 96)
        assert_equal(model(images).logits, plain(images).logits, "logits", 1e-5)
        assert len(backend.graphs) == STAGES * KINDS


@torch.no_grad()
def test_without_dynamic_each_batch_is_compiled(backend):
    stage = compile_blocks(nn.Sequential(single().stages[0]), dynamic=False, backend=backend)
    for count in (2, 3, 2):
        stage(maps32(count, 16, 16))
    assert len(backend.graphs) == 2 * KINDS


@torch.no_grad()
def test_machine_code_serves_every_batch():
    """The default compiler on the blocks of one stage: no code is made again for 1 image."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    stage = nn.Sequential(single().stages[0])
    plain = deepcopy(stage)
    compile_blocks(stage)
    for count in (3, 1):
        assert_equal(stage(maps32(count, 16, 16)), plain(maps32(count, 16, 16)), f"map of {count}", 1e-5)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == KINDS


def test_a_model_without_blocks_is_refused():
    with pytest.raises(ValueError, match=r"no GC ViT .* model\.compile\(\)"):
        compile_blocks(nn.Linear(2, 2))
