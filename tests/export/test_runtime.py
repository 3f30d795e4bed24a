"""Every runtime gives what the model in the file gives, however it is called."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gcvit.export.formats import SUFFIXES, Format
from gcvit.export.runtime import load
from laws.models import SMALL, assert_equal, random_images

from .conftest import Made

SIGNALS = """
import signal, sys
from pathlib import Path
import torch
from gcvit.export.int8 import quantise_openvino
from gcvit.export.packages import openvino_core
from gcvit.export.runtime import load

path = Path(sys.argv[1])
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
first = load(path, "openvino")
second = load(path, "openvino")
del first
del second
signal.raise_signal(signal.SIGUSR1)
model = openvino_core().read_model(path)
quantised = quantise_openvino(model, [torch.zeros(2, *[side.get_length() for side in model.input().partial_shape[1:]])])
del model, quantised
signal.raise_signal(signal.SIGUSR1)
"""
QUICK: tuple[Format, ...] = ("torch-export", "onnx", "openvino")  # aot takes a minute to compile


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def images(count: int, seed: int = 1) -> Tensor:
    return random_images(count, *SMALL.img_size, seed=seed, dtype=torch.float32)


@pytest.mark.parametrize("to", QUICK)
def test_any_batch_gives_what_the_model_gives(pyramid_file: Callable[[Format], Made], to: Format) -> None:
    path, model = pyramid_file(to)
    program = load(path, to)
    for count in (1, 5, 2):
        with torch.no_grad():
            expected = model(images(count))
        found = program(images(count))
        assert {(x.dtype, x.device.type) for x in found} == {(torch.float32, "cpu")}
        for stage, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_equal(one, other, f"{to}, {count} images, stage {stage}", tolerance=1e-5)


@pytest.mark.parametrize("to", QUICK)
def test_an_output_stays_what_it_is(pyramid_file: Callable[[Format], Made], to: Format) -> None:
    program = load(pyramid_file(to)[0], to)
    first = program(images(2))
    before = [x.clone() for x in first]
    second = program(images(2, seed=2))
    for one, other, kept in zip(first, second, before, strict=True):
        assert not torch.equal(one, other)
        assert torch.equal(one, kept)


@pytest.mark.parametrize("to", QUICK)
def test_the_order_in_memory_does_not_matter(pyramid_file: Callable[[Format], Made], to: Format) -> None:
    program = load(pyramid_file(to)[0], to)
    plain = images(2)
    for other in (plain.to(memory_format=torch.channels_last), images(4)[::2], plain.flip(3).flip(3)):
        expected = program(other.clone(memory_format=torch.contiguous_format))[0]
        assert torch.equal(program(other)[0], expected)


@pytest.mark.parametrize("to", QUICK)
def test_threads_change_nothing_else(pyramid_file: Callable[[Format], Made], two_threads: None, to: Format) -> None:
    path, _ = pyramid_file(to)
    alone, together = load(path, to, threads=1)(images(2)), load(path, to)(images(2))
    assert torch.get_num_threads() == 2
    for one, both in zip(alone, together, strict=True):
        assert_equal(one, both, to, tolerance=1e-5)


@pytest.mark.parametrize("to", QUICK)
def test_no_threads_are_refused(pyramid_file: Callable[[Format], Made], to: Format) -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        load(pyramid_file(to)[0], to, threads=0)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"<net>", bytes(range(256)) * 9])
@pytest.mark.parametrize("to", [*QUICK, "aot"])
def test_what_is_no_model_is_refused(tmp_path: Path, to: Format, content: bytes) -> None:
    path = tmp_path / f"model{SUFFIXES[to]}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=path.name) as refusal:
        load(path, to)
    assert "export the model again" in str(refusal.value)


@pytest.mark.parametrize("to", QUICK)
def test_a_file_that_is_cut_off_is_refused(pyramid_file: Callable[[Format], Made], tmp_path: Path, to: Format) -> None:
    whole, _ = pyramid_file(to)
    path = tmp_path / whole.name
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ValueError, match="export the model again"):
        load(path, to)


def test_weights_that_are_missing_are_refused(pyramid_file: Callable[[Format], Made], tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    path.write_bytes(pyramid_file("openvino")[0].read_bytes())
    with pytest.raises(ValueError, match=r"model\.xml"):
        load(path, "openvino")


@pytest.mark.parametrize("to", [*QUICK, "aot"])
def test_a_missing_file_is_named(tmp_path: Path, to: Format) -> None:
    with pytest.raises(ValueError, match=r"absent.*no such file"):
        load(tmp_path / f"absent{SUFFIXES[to]}", to)


@pytest.mark.parametrize(("to", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_missing_package_is_named(
    pyramid_file: Callable[[Format], Made], monkeypatch: pytest.MonkeyPatch, to: Format, package: str
) -> None:
    path, _ = pyramid_file(to)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf'{package}.*pip install "gcvit\[export\]"'):
        load(path, to)


def test_openvino_goes_on_after_images_that_it_refused(pyramid_file: Callable[[Format], Made]) -> None:
    program = load(pyramid_file("openvino")[0], "openvino")
    images = torch.zeros(2, 3, *SMALL.img_size)
    expected = program(images)
    for wrong in (images[..., :-1], images[:0], images.double(), images[0]):
        with pytest.raises(ValueError, match="this file takes"):
            program(wrong)
    torch.testing.assert_close(program(images), expected)


def test_signals_are_handled_after_openvino_has_gone(pyramid_file: Callable[[Format], Made]) -> None:
    """In a process of its own: see `openvino_core`."""
    command = [sys.executable, "-X", "faulthandler", "-c", SIGNALS, str(pyramid_file("openvino")[0])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("handled") == 2
