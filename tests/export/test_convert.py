"""What is written computes what the folded model computes, in every format, for any batch."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._inductor.cpp_builder import get_cpp_compiler

from gcvit.export.check import compare
from gcvit.export.convert import convert
from gcvit.export.formats import SUFFIXES, Format
from gcvit.export.runtime import Program, load
from gcvit.export.trained import Logits
from gcvit.factory import create_model
from gcvit.model.gcvit import GCViT
from laws.models import SMALL, assert_equal, random_images, small_model
from laws.weights import meaningful_weights
from tasks.segmenters import CLASSES, segmenter

AOT = """
import sys
from pathlib import Path
import torch
from gcvit.export.convert import convert
from gcvit.export.runtime import load
from laws.models import SMALL, random_images, small_model

folder = Path(sys.argv[1])
model = small_model(dtype=torch.float32)
convert(model.fold(), folder / "model.aot.pt2", "aot", SMALL.img_size)
program = load(folder / "model.aot.pt2", "aot")
batches = [random_images(count, *SMALL.img_size, dtype=torch.float32) for count in (1, 3)]
torch.save([program(images)[0] for images in batches], folder / "found.pt")
"""
TESTS = Path(__file__).parents[1]
QUICK: tuple[Format, ...] = ("torch-export", "onnx", "openvino")
REMAINDER = (72, 100)  # windows stick out of the maps of several stages


@pytest.fixture(scope="module")
def pico() -> GCViT:
    """Folded, with windows for 64×64 px."""
    model = create_model("gcvit_pico", img_size=64, num_classes=10)
    return meaningful_weights(model, 0).eval().fold()


@pytest.fixture(scope="module")
def remainder(pico: GCViT, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Format], Program]:
    """The model for images that its windows do not fit."""

    @cache
    def make(to: Format) -> Program:
        path = tmp_path_factory.mktemp(to) / f"model{SUFFIXES[to]}"
        convert(pico, path, to, REMAINDER)
        assert path.is_file()
        return load(path, to)

    return make


def images(count: int, size: tuple[int, int] = REMAINDER, seed: int = 1) -> Tensor:
    return random_images(count, *size, seed=seed, dtype=torch.float32)


@pytest.mark.parametrize("to", QUICK)
def test_any_batch_of_a_size_with_remainders(pico: GCViT, remainder: Callable[[Format], Program], to: Format) -> None:
    for count in (1, 2, 5):
        with torch.no_grad():
            expected = pico(images(count))
        (found,) = remainder(to)(images(count))
        assert_equal(found, expected, f"{to}, {count} images", tolerance=1e-5)


@pytest.mark.parametrize("to", QUICK)
def test_batch_mates_do_not_matter(remainder: Callable[[Format], Program], to: Format) -> None:
    program = remainder(to)
    (alone,), (among,) = program(images(1)), program(torch.cat([images(3, seed=2), images(1)]))
    assert_equal(among[-1:], alone, to, tolerance=1e-5)


def test_a_segmentation_model(tmp_path: Path) -> None:
    model = Logits(segmenter().float().fold())
    path = tmp_path / "model.xml"
    convert(model, path, "openvino", SMALL.img_size)
    for count in (1, 3):
        with torch.no_grad():
            expected = model(images(count, SMALL.img_size))
        assert expected.shape == (count, CLASSES, 24, 24)
        (found,) = load(path, "openvino")(images(count, SMALL.img_size))
        assert_equal(found, expected, f"{count} images", tolerance=1e-5)


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_int8_is_close(pico: GCViT, tmp_path: Path, to: Format, capsys: pytest.CaptureFixture[str]) -> None:
    path, size = tmp_path / f"model{SUFFIXES[to]}", (64, 64)
    convert(pico, path, to, size, calibration=images(16, size).split(4))
    assert capsys.readouterr().out == ""
    found = compare(pico, load(path, to), "others", images(16, size, seed=3).split(5))
    assert 1e-4 < found.relative < 0.2  # of noise, by random weights
    whole = 4 * sum(parameter.numel() for parameter in pico.parameters())
    weights = path.with_suffix(".bin") if to == "openvino" else path
    assert weights.stat().st_size < whole  # of matrices a quarter; the graph of a small model is as large again


@pytest.mark.parametrize("to", ["torch-export", "aot"])
def test_formats_without_int8_say_so(pico: GCViT, tmp_path: Path, to: Format) -> None:
    with pytest.raises(ValueError, match=f"no int8 for {to}; there is for onnx and openvino"):
        convert(pico, tmp_path / "model", to, (64, 64), calibration=[images(1)])
    assert not list(tmp_path.iterdir())


def test_images_of_other_channels(tmp_path: Path) -> None:
    model = small_model(dtype=torch.float32, in_chans=5).fold()
    convert(model, tmp_path / "model.pt2", "torch-export", SMALL.img_size)
    five = random_images(2, *SMALL.img_size, channels=5, dtype=torch.float32)
    with torch.no_grad():
        assert_equal(
            load(tmp_path / "model.pt2", "torch-export")(five)[0], model(five), "five channels", tolerance=1e-5
        )


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
    """In a process of its own: the library that is made stays loaded, beside whatever other tests have compiled."""
    command = [sys.executable, "-c", AOT, str(tmp_path)]
    made = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=500)
    assert made.returncode == 0, made.stderr[-2000:]
    model = small_model(dtype=torch.float32)
    for logits in torch.load(tmp_path / "found.pt"):
        images = random_images(len(logits), *SMALL.img_size, dtype=torch.float32)
        with torch.no_grad():
            assert_equal(logits, model(images), f"{len(logits)} images", tolerance=1e-5)
