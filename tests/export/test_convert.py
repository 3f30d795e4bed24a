"""What is written computes what the folded model computes, in every format, for any batch."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch._inductor.cpp_builder import get_cpp_compiler

from gcvit.errors import UserError
from gcvit.export import convert as convert_module
from gcvit.export.channels_first import channels_first
from gcvit.export.check import compare
from gcvit.export.convert import convert
from gcvit.export.formats import SUFFIXES, Format, openvino_core
from gcvit.export.runtime import load
from gcvit.export.sidecar import parts
from gcvit.model.config import Pair
from gcvit.tasks.segment.exported import Logits
from laws.models import SMALL, assert_equal, random_images, small_model
from laws.test_ablations import designs
from tasks.segmenters import CLASSES, segmenter

from .everything import SIZE, Everything, Files, images, model

AOT = """
import sys
from pathlib import Path
from typing import Any
import torch
from gcvit.export.convert import convert
from gcvit.export.runtime import load
from laws.models import SMALL, random_images, small_model

folder = Path(sys.argv[1])
model = small_model(dtype=torch.float32, query_mbconvs=(1, 1, 1, 1)).fold()
beginning = torch.nn.Sequential(model.stem, model.stages[0])
convert(beginning, folder / "model.aot.pt2", "aot", SMALL.img_size)
program = load(folder / "model.aot.pt2", "aot")
batches = [random_images(count, *SMALL.img_size, dtype=torch.float32) for count in (1, 3)]
torch.save([program(images)[0] for images in batches], folder / "found.pt")
"""
TESTS = Path(__file__).parents[1]


def pictures(count: int, size: tuple[int, int], seed: int = 1) -> Tensor:
    return random_images(count, *size, seed=seed, dtype=torch.float32)


def test_a_segmentation_model(tmp_path: Path) -> None:
    model = Logits(segmenter().float().fold())
    path = tmp_path / "model.xml"
    convert(model, path, "openvino", SMALL.img_size)
    for count in (1, 3):
        with torch.no_grad():
            expected = model(pictures(count, SMALL.img_size))
        assert expected.shape == (count, CLASSES, 24, 24)
        (found,) = load(path, "openvino")(pictures(count, SMALL.img_size))
        assert_equal(found, expected, f"{count} images", tolerance=1e-5)


def int8_weights(path: Path, to: Format) -> list[np.ndarray]:
    if to == "onnx":
        onnx = pytest.importorskip("onnx")
        values = map(onnx.numpy_helper.to_array, onnx.load(path).graph.initializer)
    else:
        operations = openvino_core().read_model(path).get_ordered_ops()
        values = (op.get_data() for op in operations if op.get_type_name() == "Constant")
    return [value for value in values if value.dtype == np.int8 and value.ndim == 2]


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_int8_is_close(
    everything: Files,
    tmp_path: Path,
    to: Format,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From the file in fp32 that test_runtime.py looks into: `convert` makes that first."""

    def fp32(model: nn.Module, path: Path, to: Format, size: Pair, outputs: Sequence[str]) -> None:
        assert (model, size, outputs) == (all_of_it, SIZE, ())
        for made, asked in zip(parts(everything(to), to), parts(path, to), strict=True):
            shutil.copy(made, asked)

    path, folded = tmp_path / f"model{SUFFIXES[to]}", model().fold()
    all_of_it = Everything(folded)
    with monkeypatch.context() as patch:
        patch.setattr(convert_module, "convert", fp32)
        convert(all_of_it, path, to, SIZE, calibration=images(16).split(4))
    assert capsys.readouterr().out == ""
    found = compare(all_of_it, load(path, to), "others", images(16, seed=3).split(5))
    assert 1e-4 < found.relative < 0.2  # of noise, by random weights
    whole = 4 * sum(parameter.numel() for parameter in folded.parameters())
    weights = path.with_suffix(".bin") if to == "openvino" else path
    assert weights.stat().st_size < whole  # of matrices a quarter; the graph of a small model is as large again
    matrices = int8_weights(path, to)
    assert len(matrices) >= 4 * sum(folded.config.depths)
    # Two products with activations of 0 … 255 then fit into the 16 bits that processors without VNNI have for them.
    assert max(int(np.abs(matrix.astype(int)).max()) for matrix in matrices) <= 64
    if to == "onnx":
        graph = onnx.load(path, load_external_data=False).graph
        axes = [axis for port in (*graph.input, *graph.output) for axis in port.type.tensor_type.shape.dim]
        assert [axis.dim_param for axis in axes if not axis.dim_value] == ["batch"] * 6


@pytest.mark.parametrize("to", ["torch-export", "aot"])
def test_formats_without_int8_say_so(tmp_path: Path, to: Format) -> None:
    with pytest.raises(ValueError, match=f"no int8 for {to}; there is for onnx and openvino"):
        convert(model().fold(), tmp_path / "model", to, SIZE, calibration=[images(1)])
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_not_folded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="folded"):
        convert(small_model(dtype=torch.float32), tmp_path / "model.onnx", "onnx", SMALL.img_size)


def _is_compiler_here() -> bool:
    try:
        return bool(get_cpp_compiler())
    except RuntimeError:
        return False


@pytest.mark.skipif(not _is_compiler_here(), reason="needs a C++ compiler")
def test_aot(tmp_path: Path) -> None:
    """The stem and a stage, which have every kind of layer but the head: compiling is slow. In a process of its own:
    the library that is made stays loaded, beside whatever other tests have compiled."""
    command = [sys.executable, "-c", AOT, str(tmp_path)]
    made = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=500)
    assert made.returncode == 0, made.stderr[-2000:]
    model = small_model(dtype=torch.float32, query_mbconvs=(1, 1, 1, 1))
    for found in torch.load(tmp_path / "found.pt"):
        with torch.no_grad():
            expected = model.pyramid(pictures(len(found), SMALL.img_size))[0].permute(0, 2, 3, 1)
        assert_equal(found, expected, f"{len(found)} images", tolerance=1e-5)


@torch.no_grad()
def test_grey_images_are_seen_channels_first() -> None:
    model, images = (
        small_model(dtype=torch.float32, in_chans=1).fold(),
        random_images(2, 96, 70, 1, dtype=torch.float32),
    )
    assert_equal(channels_first(model)(images), model(images), "logits, channels first", 1e-5)


@designs
@torch.no_grad()
def test_every_ablation_is_written_for_runtimes_or_refused(changes: dict[str, Any]) -> None:
    """What is written as ONNX or OpenVINO computes the same; what is not says so, and runs under torch.export."""
    model = small_model(dtype=torch.float32, **changes).fold()
    pictures = random_images(2, 96, 70, dtype=torch.float32)
    if "shifted" in model.config.blocks or not model.config.mask_padding:
        with pytest.raises(UserError, match="is not written as ONNX or OpenVINO"):
            channels_first(model)
        return
    assert_equal(channels_first(model)(pictures), model(pictures), "logits, channels first", 1e-5)


class Another(nn.Identity):
    """A part that is written nowhere but in its own forward pass."""


@pytest.mark.parametrize("place", ["stem", "stages.0.downsample", "stages.1.query", "stages.2.blocks.0.attention"])
def test_a_part_that_is_not_known_is_refused(place: str) -> None:
    model = small_model(dtype=torch.float32).fold()
    if place.endswith("attention"):
        changed = model.get_submodule(place)
        changed.__class__ = type("Another", (type(changed),), {"attend": lambda self, q, k, v, bias, closed=False: v})
    else:
        model.set_submodule(place, Another())
    with pytest.raises(UserError, match="a model with Another is not written as ONNX or OpenVINO; --to torch-export"):
        channels_first(model)
