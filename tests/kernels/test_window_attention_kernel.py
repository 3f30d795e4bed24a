"""The window-attention kernel equals the plain module, on a GPU or in Triton's interpreter.

Without a GPU these tests skip themselves; `test_window_attention.py` then runs this file in a process of its own under
TRITON_INTERPRET=1, where every device is one for Triton and slow: hence maps of few windows.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

from gcvit.kernels.window_attention import available, interpreted, window_attention
from gcvit.model import GCViT, GCViTConfig, attention, gcvit
from gcvit.model.attention import GlobalAttention, LocalAttention
from gcvit.model.windows import UNCUT, Layout, merge, padding_mask, split

DEVICE = torch.device("cpu") if interpreted() or not torch.cuda.is_available() else torch.device("cuda", 0)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not available(DEVICE.type, DEVICE.index), reason="needs a GPU, or TRITON_INTERPRET=1"),
]

# Relative to the largest value. float32 checks that the kernel is right to the last digits; the narrower types round
# what they multiply.
TOLERANCES = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}
KINDS = (LocalAttention, GlobalAttention)
# window, map: whole windows, then windows that reach over the right and lower edge; one tile, then many.
SHAPES = [
    ((4, 4), (8, 12)),
    ((6, 5), (7, 11)),
    ((7, 7), (14, 7)),
    ((7, 7), (8, 15)),
    ((7, 5), (9, 6)),
    ((14, 14), (15, 9)),
    ((32, 32), (4, 34)),
    ((30, 9), (11, 10)),
]


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """A GPU's convolutions would otherwise round to TF32, more than the tolerances allow."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def module(kind, window, heads=2, seed=0):
    """Attention with a bias that matters, in float64, which no kernel takes."""
    torch.manual_seed(seed)
    attention = kind(32 * heads, heads, window, 0.0, 0.0).double().requires_grad_(False)
    nn.init.normal_(attention.bias.table)
    return attention


def inputs(window, size, heads=2, batch=3):
    """Every image its own map and query, on a larger scale than a norm gives: weights are far from equal."""
    generator = torch.Generator().manual_seed(1)
    x = 2 * torch.randn(batch, *size, 32 * heads, generator=generator, dtype=torch.float64)
    query = torch.randn(batch, heads, window[0] * window[1], 32, generator=generator, dtype=torch.float64)
    return x, query


def in_windows(attention, x, query, window):
    """The plain module in float64, on windows that are cut out of the map."""
    size = (x.shape[1], x.shape[2])
    layout = Layout(padding_mask(size, window, x.device))
    return merge(attention(split(x, window), query, layout), window, size)


def token_by_token(attention, x, query, window):
    """Neither windows nor masks nor a gathered bias: for each token, the tokens in whose window it is."""
    batch, height, width = x.shape[:3]
    heads, columns = attention.heads, 2 * window[1] - 1
    parts = attention.project(x)
    mixed = x.new_zeros(batch, height, width, heads, 32)
    for y in range(height):
        for x_ in range(width):
            top, left = y // window[0] * window[0], x_ // window[1] * window[1]
            bottom, right = min(top + window[0], height), min(left + window[1], width)
            *_, keys, values = parts[:, top:bottom, left:right].flatten(1, 2).unbind(2)
            own = (y - top) * window[1] + x_ - left
            q = parts[:, y, x_, 0] if parts.shape[3] == 3 else query[:, :, own]
            scores = torch.einsum("bhd,bkhd->bhk", q, keys) * attention.scale
            offsets = [
                (y - row + window[0] - 1) * columns + x_ - column + window[1] - 1
                for row in range(top, bottom)
                for column in range(left, right)
            ]
            weights = (scores + attention.bias.table[offsets].t()).softmax(-1)
            mixed[:, y, x_] = torch.einsum("bhk,bkhd->bhd", weights, values)
    return attention.proj(mixed.flatten(3))


def on_map(attention, x, query, dtype):
    attention = attention.to(DEVICE, dtype)
    return attention(x.to(DEVICE, dtype), query.to(DEVICE, dtype), UNCUT)


def assert_close(found, expected, tolerance):
    assert found.shape == expected.shape
    error = (found.double().cpu() - expected).abs().max() / expected.abs().max()
    assert error <= tolerance, f"relative error {error:.1e} > {tolerance:.0e}"


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("window", "size"), SHAPES, ids=str)
def test_equals_the_plain_module(kind, window, size):
    heads = 1 if window[0] * window[1] > 100 else 2
    x, query = inputs(window, size, heads, batch=2)
    attention = module(kind, window, heads)
    expected = in_windows(attention, x, query, window)
    assert_close(on_map(attention, x, query, torch.float32), expected, TOLERANCES[torch.float32])


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("window", "size"), [((7, 7), (8, 12)), ((8, 8), (8, 8)), ((10, 8), (10, 9))], ids=str)
def test_narrow_types(kind, dtype, window, size):
    x, query = inputs(window, size, batch=1)
    attention = module(kind, window)
    expected = in_windows(attention, x, query, window)
    assert_close(on_map(attention, x, query, dtype), expected, TOLERANCES[dtype])


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("window", "size"), [((4, 6), (7, 9)), ((6, 7), (7, 8))], ids=str)
def test_equals_attention_token_by_token(kind, window, size):
    x, query = inputs(window, size, batch=2)
    attention = module(kind, window)
    expected = token_by_token(attention, x, query, window)
    assert_close(on_map(attention, x, query, torch.float32), expected, TOLERANCES[torch.float32])


@torch.no_grad()
@pytest.mark.parametrize("mixed_up", [False, True])
def test_each_image_has_its_own_query(mixed_up):
    """Algorithm 1's repeat gives window n the query of image n % batch; planted, it is found."""
    window, size = (4, 4), (8, 8)
    x, query = inputs(window, size)
    attention = module(GlobalAttention, window)
    expected = in_windows(attention, x, query, window)
    found = on_map(attention, x, query.roll(1, 0) if mixed_up else query, torch.float32)
    if mixed_up:
        with pytest.raises(AssertionError, match="relative error"):
            assert_close(found, expected, TOLERANCES[torch.float32])
        # Image by image, and window by window: image 0 under the query of image 2 is what the roll says.
        expected = in_windows(attention.double(), x.to(DEVICE), query.roll(1, 0).to(DEVICE), window).cpu()
    assert_close(found, expected, TOLERANCES[torch.float32])


@torch.no_grad()
@pytest.mark.parametrize(("window", "size"), [((4, 5), (6, 7)), ((6, 6), (7, 6))], ids=str)
def test_strides_do_not_matter(window, size):
    """Every axis but the last may lie anywhere: maps cut from larger ones, queries, tables and heads out of order."""
    generator = torch.Generator().manual_seed(2)
    projected = torch.randn(2, *size, 2, 3, 32, generator=generator).to(DEVICE)
    query = torch.randn(2, 3, window[0] * window[1], 32, generator=generator).to(DEVICE)
    table = torch.randn((2 * window[0] - 1) * (2 * window[1] - 1), 3, generator=generator).to(DEVICE)
    expected = window_attention(projected, query, table, window, 0.2)
    larger = projected.new_full((2, size[1] + 2, size[0] + 3, 5, 2, 33), 7.0)
    strided = larger.transpose(1, 2).permute(0, 1, 2, 4, 3, 5)[:, 2 : size[0] + 2, 1 : size[1] + 1, :, 1:4, 1:]
    strided.copy_(projected)
    tokens_first = query.transpose(1, 2).contiguous().transpose(1, 2)
    found = window_attention(strided, tokens_first, table.t().contiguous().t(), window, 0.2)
    assert torch.equal(found, expected)


@torch.no_grad()
@pytest.mark.skipif(interpreted(), reason="too large to interpret")
@pytest.mark.parametrize("window", [(4, 4), (9, 8)])
def test_a_map_of_more_numbers_than_32_bits_count(window):
    """Its last row of windows is what it would be alone."""
    projected = torch.randn(1, 4752, 4800, 3, 1, 32, device=DEVICE, dtype=torch.bfloat16)
    table = torch.randn((2 * window[0] - 1) * (2 * window[1] - 1), 1, device=DEVICE)
    found = window_attention(projected, None, table, window, 0.2)[:, -window[0] :]
    assert torch.equal(found, window_attention(projected[:, -window[0] :], None, table, window, 0.2))


@torch.no_grad()
def test_several_windows_in_one_program(monkeypatch):
    """With more windows than programs are wanted, each takes a few; the last one takes what is left."""
    window, size = (4, 4), (7, 9)  # 6 windows, 3 images, 1 head
    x, query = inputs(window, size, heads=1)
    attention = module(GlobalAttention, window, heads=1)
    expected = in_windows(attention, x, query, window)
    for programs in (18, 7, 1):
        monkeypatch.setattr("gcvit.kernels.window_attention.PROGRAMS", programs)
        assert_close(on_map(attention, x, query, torch.float32), expected, TOLERANCES[torch.float32])


@torch.no_grad()
def test_large_scores_and_an_empty_batch():
    """The softmax neither overflows nor loses a row where one key takes all."""
    window = (7, 7)
    x, query = inputs(window, (7, 7))
    attention = module(LocalAttention, window)
    attention.scale *= 1000
    expected = in_windows(attention, x, query, window)
    assert_close(on_map(attention, x, query, torch.float32), expected, 1e-3)
    assert on_map(attention, x[:0], query[:0], torch.float32).shape == (0, 7, 7, 64)


# Heads of 32 channels; windows of one tile and of many, which no map is a multiple of.
SMALL = GCViTConfig(
    dim=32,
    depths=(2, 2, 2, 2),
    heads=(1, 2, 4, 8),
    mlp_ratio=1.0,
    drop_path=0.0,
    img_size=(96, 96),
    windows=((9, 8), (4, 5), (4, 4), (4, 4)),
    num_classes=5,
)


def whole_model(**changes):
    torch.manual_seed(0)
    model = GCViT(replace(SMALL, **changes)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("table"):
            nn.init.normal_(parameter)
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    return model.to(DEVICE)


def count_calls(monkeypatch):
    calls = []
    run = attention.window_attention
    monkeypatch.setattr(attention, "window_attention", lambda *inputs: calls.append(inputs[3]) or run(*inputs))
    return calls


@torch.inference_mode()
def test_the_whole_model_and_its_folded_copy(monkeypatch):
    model, images = whole_model(layer_scale=0.5), torch.randn(2, 3, 37, 53, device=DEVICE)
    with monkeypatch.context() as patch:
        patch.setattr(gcvit, "applies", lambda *inputs: False)
        plain = model.trace(images)
    calls = count_calls(monkeypatch)
    for run in (model, model.fold()):
        calls.clear()
        trace = run.trace(images)
        assert calls == [w for w, depth in zip(SMALL.windows, SMALL.depths, strict=True) for _ in range(depth)]
        for ours, expected in zip(trace.maps, plain.maps, strict=True):
            assert_close(ours, expected.double().cpu(), 1e-5)
            assert ours.is_contiguous(memory_format=torch.channels_last)
        assert_close(trace.logits, plain.logits.double().cpu(), 1e-5)


@torch.inference_mode()
def test_a_trace_has_the_attention_of_the_blocks_asked_for(monkeypatch):
    model, images = whole_model(), torch.randn(1, 3, 37, 53, device=DEVICE)
    with monkeypatch.context() as patch:
        patch.setattr(gcvit, "applies", lambda *inputs: False)
        plain = model.trace(images, blocks=[(1, 1)])
    calls = count_calls(monkeypatch)
    trace = model.trace(images, blocks=[(1, 1)])
    assert len(calls) == 6, "the stage that is recorded is cut into windows, the others are not"
    assert_close(trace.attention[1, 1], plain.attention[1, 1].double().cpu(), 1e-5)
    assert_close(trace.logits, plain.logits.double().cpu(), 1e-5)


@torch.no_grad()
def test_autocast(monkeypatch):
    model, images = whole_model(), torch.randn(1, 3, 32, 32, device=DEVICE)
    expected = model(images).double().cpu()
    calls = count_calls(monkeypatch)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        found = model(images)
    assert len(calls) == 8
    assert_close(found, expected, 0.05)


def test_gradients_are_left_to_the_plain_path(monkeypatch):
    """Also where only what follows learns, and in a model of which nothing does but the image."""
    calls = count_calls(monkeypatch)
    images = torch.randn(1, 3, 32, 32, device=DEVICE)
    model = whole_model().requires_grad_(False)
    model.stages[3].blocks[1].mlp.requires_grad_(True)
    model(images).sum().backward()
    assert len(calls) == 6, "the first three stages have no gradients to carry"
    assert all(p.grad.abs().sum() > 0 for p in model.stages[3].blocks[1].mlp.parameters())
    calls.clear()
    images.requires_grad_()
    model(images).sum().backward()
    assert not calls
    assert images.grad.abs().sum() > 0


@torch.no_grad()
def test_dropout_is_left_to_the_plain_path(monkeypatch):
    calls = count_calls(monkeypatch)
    model, images = whole_model(attention_dropout=0.1), torch.randn(1, 3, 32, 32, device=DEVICE)
    model.train()(images)
    assert not calls
    model.eval()(images)
    assert len(calls) == 8


@torch.no_grad()
@pytest.mark.parametrize("changes", [{"heads": (2, 4, 8, 16)}, {"windows": ((33, 4), (4, 33), 3, 33)}], ids=str)
def test_other_heads_and_windows_are_left_to_the_plain_path(changes, monkeypatch):
    calls = count_calls(monkeypatch)
    assert whole_model(**changes)(torch.randn(1, 3, 32, 32, device=DEVICE)).isfinite().all()
    assert not calls


@torch.no_grad()
def test_float64_is_left_to_the_plain_path(monkeypatch):
    calls = count_calls(monkeypatch)
    whole_model().double()(torch.randn(1, 3, 32, 32, device=DEVICE, dtype=torch.float64))
    assert not calls


@torch.no_grad()
def test_compiled_and_exported_stages_call_the_operator():
    stage, x = whole_model().fold().stages[1], torch.randn(3, 6, 7, 64, device=DEVICE)
    expected = stage(x).double().cpu()
    compiled = torch.compile(stage, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x), expected, 1e-5)
    program = torch.export.export(stage, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    calls = [node for node in program.graph.nodes if node.target is torch.ops.gcvit.window_attention.default]
    assert len(calls) == 2
    assert_close(program.module()(x), expected, 1e-5)
    assert_close(program.module()(x[:1]), expected[:1], 1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_opcheck(kind):
    x, query = inputs((4, 5), (6, 7))
    attention = module(kind, (4, 5)).to(DEVICE, torch.float32)
    projected = attention.project(x.to(DEVICE, torch.float32))
    shared = query.to(DEVICE, torch.float32) if kind is GlobalAttention else None
    torch.library.opcheck(
        torch.ops.gcvit.window_attention.default, (projected, shared, attention.bias.table, (4, 5), 0.2)
    )
