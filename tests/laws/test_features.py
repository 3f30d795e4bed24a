"""Autocast, compilation, export and the meta device: each gives what plain eager float32 gives."""

import pytest
import torch

from gcvit.model import GCViT
from gcvit.model.windows import Layout, padding_mask
from laws.models import SMALL, assert_equal, images32, random_images, relative_error, small_model
from laws.weights import meaningful_weights

PADDED = ((5, 5), (5, 5), (4, 4), (2, 2))


def single(**changes):
    return small_model(dtype=torch.float32, **changes)


@torch.no_grad()
@pytest.mark.parametrize("windows", [PADDED, ((6, 6), (3, 3), (3, 3), (1, 3))], ids=["padded", "exact"])
def test_bf16_autocast_is_close(windows):
    model, images = single(windows=windows), images32(2, 96, 96)
    expected = model(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, maps, folded = model(images), model.pyramid(images), model.fold()(images)
    assert 1e-4 < relative_error(logits, expected) < 0.05  # the lower bound: autocast was in force
    assert relative_error(folded, expected) < 0.05
    for found, plain in zip(maps, model.pyramid(images), strict=True):
        assert relative_error(found, plain) < 0.05


def test_bf16_autocast_trains():
    model, images = single(layer_scale=0.1).train(), images32(2, 96, 96)
    model(images).square().sum().backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(images).float().square().sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
    assert relative_error(torch.cat([p.grad.flatten() for p in model.parameters()]), expected) < 0.2


@torch.no_grad()
def test_bf16_weights_work():
    model, images = single(), images32(2, 96, 96)
    expected = model(images)
    assert relative_error(model.bfloat16()(images.bfloat16()), expected) < 0.1


def test_compiled_in_one_graph_equals_eager():
    """Captured, differentiated and decomposed as for every compiler, then run as it is: generating C++ for the
    whole model takes minutes of two cores."""
    torch._dynamo.reset()
    model, images = single(windows=PADDED), images32(2, 70, 96)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager_decomp_partition")
    expected, found = model(images), compiled(images)
    assert_equal(found, expected, "compiled logits", 1e-5)
    weights = dict(model.named_parameters())
    eager = torch.autograd.grad(expected.square().sum(), weights.values())
    ours = torch.autograd.grad(found.square().sum(), weights.values())
    for name, one, other in zip(weights, ours, eager, strict=True):
        assert_equal(one, other, f"compiled gradient of {name}", 1e-4)


@torch.no_grad()
def test_compiled_to_machine_code_equals_eager():
    """The default compiler, on one global block over padded windows."""
    torch._dynamo.reset()
    block = single(windows=PADDED).stages[0].blocks[1]
    tokens = random_images(2, 25, 8, channels=2, dtype=torch.float32)
    query = random_images(2, 25, 8, channels=1, dtype=torch.float32)
    layout = Layout(padding_mask((5, 8), (5, 5), tokens.device))
    compiled = torch.compile(block, fullgraph=True)
    assert_equal(compiled(tokens, query, layout), block(tokens, query, layout), "compiled block", 1e-5)


@torch.no_grad()
def test_exported_with_a_dynamic_batch_equals_eager():
    """As folded models are in tests/export/test_runtime.py."""
    model = single(windows=PADDED)
    program = torch.export.export(
        model, (images32(2, 64, 70),), dynamic_shapes={"images": {0: torch.export.Dim("batch")}}, strict=False
    )
    exported = program.module()
    for batch in (1, 2, 5):
        images = images32(batch, 64, 70)
        assert_equal(exported(images), model(images), f"exported logits of {batch}", 1e-5)


@torch.no_grad()
def test_meta_device():
    """Built and run without memory; given memory and weights, nothing else is missing."""
    with torch.device("meta"):
        model = GCViT(SMALL)
        assert all(tensor.is_meta for tensor in model.state_dict().values())
        assert model(torch.empty(2, 3, 96, 70)).shape == (2, 11)
    expected = single()
    model.to_empty(device="cpu").load_state_dict(expected.state_dict())
    images = images32(2, 96, 70)
    assert torch.equal(model.eval()(images), expected(images))


@torch.no_grad()
def test_nothing_is_cached_across_types_and_sizes():
    """A model that has run in one type and size computes in another as a fresh one does."""
    used = single()
    used(images32(1, 64, 64))
    used.double()
    images = random_images(1, 96, 130)
    fresh = meaningful_weights(GCViT(SMALL)).double().eval()
    assert torch.equal(used(images), fresh(images))


@torch.no_grad()
def test_memory_format_of_the_input_does_not_matter():
    model, images = small_model(), random_images(2, 96, 70)
    expected = model(images)
    assert_equal(model(images.contiguous(memory_format=torch.channels_last)), expected, "logits of NHWC images")
    assert_equal(model(images.transpose(2, 3).contiguous().transpose(2, 3)), expected, "logits of strided images")
