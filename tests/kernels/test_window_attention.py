"""The window-attention operator: its kernel in Triton's interpreter, its rule, its shapes and what it refuses."""

import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import gcvit
from gcvit.kernels import window_attention as kernel
from gcvit.kernels.window_attention import applies, interpreted, tile_sizes, window_attention
from gcvit.model import attention

pytestmark = pytest.mark.skipif(interpreted(), reason="for a process in which Triton does not interpret")


@pytest.mark.skipif(
    find_spec("triton") is None or (version("triton") < "3.7" and version("numpy") >= "2.4"),
    reason="needs triton, and Triton 3.6's interpreter a NumPy before 2.4",
)
def test_the_kernel_in_tritons_interpreter():
    """In a process of its own: Triton reads the variable when it defines a kernel, and keeps to it."""
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", Path(__file__).with_name("test_window_attention_kernel.py")],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-2000:]
    assert " passed, 2 skipped in" in found.stdout, "only the two maps of gigabytes are for a GPU alone"


def tensors(dtype=torch.float32, device="cpu", parts=2, heads=2, tokens=35):
    projected = torch.zeros(3, 9, 8, parts, heads, 32, dtype=dtype, device=device)
    query = torch.zeros(3, heads, tokens, 32, dtype=dtype, device=device) if parts == 2 else None
    return {
        "projected": projected,
        "query": query,
        "table": torch.zeros(13 * 9, heads, device=device),
        "window": (7, 5),
        "scale": 0.2,
    }


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("dtype", kernel.TYPES, ids=str)
def test_shape_and_type_without_a_device(parts, dtype):
    out = window_attention(**tensors(dtype, "meta", parts))
    assert (out.shape, out.dtype, out.is_contiguous()) == ((3, 9, 8, 64), dtype, True)


WRONG = {
    "other parts": ({"projected": torch.zeros(3, 9, 8, 3, 2, 32)}, "with a query"),
    "no query": ({"query": None}, "without a query"),
    "heads of 16": ({"projected": torch.zeros(3, 9, 8, 2, 4, 16)}, r"heads, 32\)"),
    "a map of channels": ({"projected": torch.zeros(3, 9, 8, 128)}, r"\(3, 9, 8, 128\)"),
    "float64": ({"projected": torch.zeros(3, 9, 8, 2, 2, 32).double()}, "not torch.float64"),
    "a query of another type": ({"query": torch.zeros(3, 2, 35, 32).half()}, "the query is torch.float16"),
    "a query of another batch": ({"query": torch.zeros(1, 2, 35, 32)}, r"not \(1, 2, 35, 32\)"),
    "a query of another window": ({"query": torch.zeros(3, 2, 49, 32)}, r"not \(3, 2, 49, 32\)"),
    "a query elsewhere": ({"query": torch.zeros(3, 2, 35, 32, device="meta")}, "the query is on meta"),
    "a table of another window": ({"table": torch.zeros(169, 2)}, "117 offsets by 2 heads"),
    "a table of whole numbers": ({"table": torch.zeros(117, 2, dtype=torch.int64)}, "floating-point"),
    "a window of 33": ({"window": (33, 5)}, "4 to 32 tokens a side"),
    "a window of 3": ({"window": (7, 3)}, "4 to 32 tokens a side"),
    "one side": ({"window": (7,)}, "4 to 32 tokens a side"),
    "numbers of a head apart": ({"projected": torch.zeros(3, 9, 8, 2, 32, 2).transpose(4, 5)}, "projected"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_it_cannot_do_is_an_error(what, monkeypatch):
    monkeypatch.setattr(kernel, "available", lambda *device: True)  # so that nothing but the check is in the way
    changes, message = WRONG[what]
    with pytest.raises(ValueError, match=message):
        window_attention(**{**tensors(), **changes})


def test_a_device_without_triton_is_an_error():
    with pytest.raises(ValueError, match="on cpu: use torch's scaled_dot_product_attention"):
        window_attention(**tensors())


def test_gradients_are_an_error(monkeypatch):
    """The forward pass of a tensor that asks for a gradient is computed; asking for it fails."""
    out = window_attention(
        **{**tensors(device="meta"), "table": torch.zeros(117, 2, device="meta", requires_grad=True)}
    )
    with pytest.raises(RuntimeError, match="no autograd formula"):
        out.sum().backward()


def test_the_rule(monkeypatch):
    x = torch.zeros(1, 8, 8, 64)
    assert not applies(x, 32, (7, 7)), "there is no kernel for the CPU"
    monkeypatch.setattr(kernel, "available", lambda *device: True)
    for window in ((4, 4), (7, 7), (4, 32), (32, 32)):
        assert applies(x, 32, window)
    for window in ((3, 7), (7, 33), (1, 1)):
        assert not applies(x, 32, window)
    assert not applies(x, 16, (7, 7))
    assert not applies(x, 64, (7, 7))
    assert applies(x.half(), 32, (7, 7))
    assert applies(x.bfloat16(), 32, (7, 7))
    assert not applies(x.double(), 32, (7, 7))
    assert not applies(x.to("meta"), 32, (7, 7))
    with torch.autocast("cpu", torch.bfloat16):
        assert applies(x, 32, (7, 7))


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_gpus_that_will_do(capability, expected, monkeypatch):
    monkeypatch.setattr(kernel, "find_spec", lambda name: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    rule = kernel._available.__wrapped__
    assert rule("cuda", 0) == expected
    assert not rule("cpu", None)
    monkeypatch.setenv("GCVIT_FUSED_ATTENTION", "0")
    assert not rule("cuda", 0)
    monkeypatch.delenv("GCVIT_FUSED_ATTENTION")
    monkeypatch.setattr(kernel, "find_spec", lambda name: None)
    assert not rule("cuda", 0)


def test_the_compiler_takes_the_rule_for_a_constant():
    """Also in a process in which it came later than we did, as it does unless something else imports it."""

    def doubled(x):
        return 2 * x if applies(x, 32, (7, 7)) else x

    compiled = torch.compile(doubled, fullgraph=True, backend="eager")
    assert compiled(torch.ones(1)) == doubled(torch.ones(1))
    code = "import sys, gcvit.kernels.window_attention as kernel; assert 'torch._dynamo' not in sys.modules\n"
    code += "import torch._dynamo; assert kernel.available._dynamo_marked_constant"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tiles_hold_every_window():
    """One tile where the window fits it; sides that Triton can multiply: powers of 2 from 16."""
    for tokens in range(16, 32 * 32 + 1):
        for dtype in kernel.TYPES:
            tiles = tile_sizes(tokens, dtype)
            assert tiles["BLOCK"] in (16, 32, 64)
            assert "KEYS" in tiles or tiles["BLOCK"] >= tokens
            assert tiles["num_warps"] in (1, 2, 4)


def test_a_model_on_the_cpu_does_not_ask_for_triton(monkeypatch):
    monkeypatch.setattr(attention, "window_attention", None)
    model = gcvit.create_model("gcvit_nano", num_classes=5)
    with torch.inference_mode():
        model(torch.randn(1, 3, 64, 64))
        model.fold()(torch.randn(1, 3, 64, 64))
    code = "import sys; sys.modules['triton'] = None; import gcvit.kernels.window_attention"
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=True
    )
