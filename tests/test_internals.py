"""Other libraries' private parts: one room has them all, and what each costs where a release lacks it."""

import ast
import random
import sys
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.autograd import forward_ad

import gcvit
from gcvit.bench.cost import paper_macs
from gcvit.data.images import load_picture
from gcvit.data.sampling import Reseeded
from gcvit.export.runtime import load
from gcvit.internals import of_others, of_torch
from gcvit.kernels import cpu_attention
from gcvit.model import compiling
from laws.models import SMALL, assert_equal, random_images, small_model

PACKAGE = Path(gcvit.__file__).parent
NAMED_TUPLES = {"_asdict", "_replace"}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in NAMED_TUPLES and name != "_"


def strangers(root: Path) -> list[str]:
    """Every private name that a file of the package at `root` takes from outside of it."""
    trees = {path: ast.parse(path.read_text("utf8")) for path in sorted(root.rglob("*.py"))}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    ours = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    ours |= {node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    ours |= {a.attr for a in attributes if isinstance(a.ctx, ast.Store) and ast.unparse(a.value) == "self"}
    found = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                names = [] if node.attr in ours else [node.attr]
            elif isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None) or ""
                names = (
                    [] if module.startswith("gcvit") else ".".join([module, *(a.name for a in node.names)]).split(".")
                )
            else:
                continue
            found += [f"{path.relative_to(root)}:{node.lineno}: {name}" for name in names if private(name)]
    return found


def test_one_room_has_all_private_parts() -> None:
    assert {place.split("/")[0] for place in strangers(PACKAGE)} == {"internals"}


@pytest.mark.parametrize(
    "line",
    [
        "import torch._dynamo",
        "from torch import _C",
        "torch.ops.aten._fft_c2c",
        "loader._iterator",
        "block._call = 1",
    ],
)
def test_a_planted_one_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.py").write_text(
        "class A:\n    def __init__(self): self._own = 1\n    def f(self): return self._own\n"
    )
    assert strangers(tmp_path) == []
    (tmp_path / "b.py").write_text(line)
    assert [place.split(":")[0] for place in strangers(tmp_path)] == ["b.py"]


def images(count: int = 2) -> torch.Tensor:
    return random_images(count, *SMALL.img_size, dtype=torch.float32)


@pytest.mark.parametrize(
    ("owner", "name"), [(forward_ad, "_current_level"), (torch._C, "_are_functorch_transforms_active")]
)
def test_a_torch_that_does_not_tell_what_it_does_gets_the_plain_computation(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    x = torch.zeros(1, 1, 1, 1)
    assert not of_torch.transformed()
    assert cpu_attention.applies(x, x)
    with monkeypatch.context() as patch:
        patch.delattr(owner, name, raising=False)
        assert of_torch.transformed()
        assert not cpu_attention.applies(x, x)


@pytest.mark.parametrize("missing", ["the test for many gradients", "the gradient of softmax"])
def test_gradients_of_attention_without(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, 2, 6, 4, generator=generator, requires_grad=True) for _ in range(3))
    bias = torch.randn(2, 6, 6, generator=generator, requires_grad=True)
    plain = F.scaled_dot_product_attention(q, k, v, bias[None], scale=0.3)
    ours = cpu_attention.attention(q, k, v, bias, 0.3)
    expected = torch.autograd.grad(plain.square().sum(), (q, k, v, bias))
    if missing == "the gradient of softmax":
        monkeypatch.setattr(torch.ops, "aten", SimpleNamespace())
    else:
        monkeypatch.delattr(torch._C._functorch, "is_legacy_batchedtensor", raising=False)
        assert of_torch.batched(q)
    for one, other in zip(torch.autograd.grad(ours.square().sum(), (q, k, v, bias)), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_folded_model_without_onednns_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    folded = small_model(dtype=torch.float32).fold()
    expected = folded(images())
    of_torch.pointwise_linear.cache_clear()
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    assert of_torch.pointwise_linear() is None
    found = folded(images())
    of_torch.pointwise_linear.cache_clear()
    assert_equal(found, expected, "logits", 1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("missing", "graphs"),
    [(["mark_unbacked"], [1, 1, 2]), (["mark_unbacked", "maybe_mark_dynamic"], [1, 2, 3]), (["compiled calls"], None)],
    ids=["any length", "any length and any but one", "compiled calls"],
)
def test_blocks_are_compiled_all_the_same_without(
    monkeypatch: pytest.MonkeyPatch, missing: list[str], graphs: list[int] | None
) -> None:
    torch._dynamo.reset()
    stage = nn.Sequential(small_model(dtype=torch.float32, windows=None).stages[2])
    stage[0].blocks = stage[0].blocks[:1]
    plain, made = deepcopy(stage), []
    for name in missing:
        for owner in (torch._dynamo, torch._dynamo.decorators):
            monkeypatch.delattr(owner, name, raising=False)
    if graphs is None:
        monkeypatch.setattr(of_torch, "nn", SimpleNamespace(Module=object))
        assert not of_torch.compiled_calls()
    compiling.compile_blocks(stage, backend=lambda graph, _: made.append(graph) or graph)
    for number, count in enumerate((3, 5, 1)):
        maps = torch.randn(count, 6, 6, 4 * SMALL.dim)
        assert_equal(stage(maps), plain(maps), f"map of {count}", 1e-5)
        assert graphs is None or len(made) == graphs[number]
    assert made


def test_without_ahead_of_time_compilation_another_format_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("aoti_load_package", "aoti_compile_and_package"):
        monkeypatch.delattr(torch._inductor, name, raising=False)
    with pytest.raises(ValueError, match="has no aoti_load_package, which aot needs; use openvino, onnx"):
        of_torch.load_package("x")
    with pytest.raises(ValueError, match="has no aoti_compile_and_package, which aot needs; use openvino, onnx"):
        of_torch.compile_package(torch.export.export(nn.ReLU(), (torch.zeros(1),)), "x", {})
    monkeypatch.setitem(sys.modules, "torch._inductor.cpp_builder", None)
    assert of_torch.get_cpp_compiler() == "", "it is not known, so compiling is tried"


def test_loaders_without_a_way_to_end_their_workers() -> None:
    of_torch.shut_down_workers(SimpleNamespace(num_workers=2))
    of_torch.shut_down_workers(SimpleNamespace(num_workers=2, _iterator=object()))


class Drawn:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> list[float]:
        return [random.random(), *np.random.rand(2), float(torch.rand(()))]


def test_samples_without_numpys_bit_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [Reseeded(Drawn())[index, 7 + index] for index in range(3)]
    monkeypatch.delattr(np.random, "set_bit_generator", raising=False)
    np.random.seed(5)
    following = np.random.rand(3)
    np.random.seed(5)
    assert [Reseeded(Drawn())[index, 7 + index] for index in range(3)] == expected
    assert np.array_equal(np.random.rand(3), following), "the global generator is put back"


def test_a_file_that_onnx_runtime_refuses_without_its_errors_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime.capi.onnxruntime_pybind11_state", SimpleNamespace())
        assert of_others.onnx_refusals() == (Exception,)
    monkeypatch.setattr("gcvit.export.runtime.onnx_refusals", lambda: (Exception,))
    with pytest.raises(ValueError, match="export the model again"):
        load(tmp_path / "x.onnx", "onnx")


def test_pooling_is_counted_under_either_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        pooling = nn.AdaptiveAvgPool2d(2).eval()
    assert paper_macs(pooling, (8, 8)) == 3 * 8 * 8
    public = torch.ops.aten.adaptive_avg_pool2d
    monkeypatch.setattr(torch.ops, "aten", SimpleNamespace(adaptive_avg_pool2d=public))
    assert of_torch.pooling_operator() is public


def test_a_jpeg_without_a_way_to_feed_its_decoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    whole = np.asarray(load_picture(tmp_path / "a.jpg"))
    monkeypatch.setattr("PIL.Image", SimpleNamespace())  # Pillow's own modules keep theirs
    assert (np.asarray(load_picture(tmp_path / "a.jpg")) == whole).all()
