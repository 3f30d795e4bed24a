"""Every runtime gives what the model in the file gives, however it is called."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from gcvit.export.convert import convert
from gcvit.export.formats import SUFFIXES, Format
from gcvit.export.runtime import Program, load
from laws.models import assert_equal

from .everything import Everything, Files, images, model

SIGNALS = """
import signal, sys
sys.modules["openvino_telemetry"] = None  # see tests/conftest.py
from pathlib import Path
import torch
from gcvit.export.int8 import quantise_openvino
from gcvit.export.formats import openvino_core
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

Made = tuple[Path, Program, Everything]
"""A file, the program that was loaded from it, and the model that it holds, not folded."""


@pytest.fixture(scope="module")
def exported(everything: Files) -> Callable[[Format], Made]:
    """The file of a format."""

    @cache
    def make(to: Format) -> Made:
        path = everything(to)
        return path, load(path, to), Everything(model())

    return make


@pytest.mark.parametrize("to", QUICK)
def test_batch_mates_do_not_matter(exported: Callable[[Format], Made], to: Format) -> None:
    _, program, _ = exported(to)
    (*_, alone), (*_, among) = program(images(1)), program(torch.cat([images(3, seed=2), images(1)]))
    assert_equal(among[-1:], alone, to, tolerance=1e-5)


@pytest.mark.parametrize("to", QUICK)
def test_any_batch_gives_what_the_model_gives(exported: Callable[[Format], Made], to: Format) -> None:
    _, program, whole = exported(to)
    for count in (1, 5, 2):
        with torch.no_grad():
            expected = whole(images(count))
        found = program(images(count))
        assert {(x.dtype, x.device.type) for x in found} == {(torch.float32, "cpu")}
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_equal(one, other, f"{to}, {count} images, output {number}", tolerance=1e-5)


@pytest.mark.parametrize("to", QUICK)
def test_an_output_stays_what_it_is(exported: Callable[[Format], Made], to: Format) -> None:
    _, program, _ = exported(to)
    first = program(images(2))
    before = [x.clone() for x in first]
    second = program(images(2, seed=2))
    for one, other, kept in zip(first, second, before, strict=True):
        assert not torch.equal(one, other)
        assert torch.equal(one, kept)


@pytest.mark.parametrize("to", QUICK)
def test_the_order_in_memory_does_not_matter(exported: Callable[[Format], Made], to: Format) -> None:
    _, program, _ = exported(to)
    plain = images(2)
    for other in (
        plain.to(memory_format=torch.channels_last),
        images(4)[::2],
        plain.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        expected = program(other.clone(memory_format=torch.contiguous_format))[0]
        assert torch.equal(program(other)[0], expected)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"<net>", bytes(range(256)) * 9])
@pytest.mark.parametrize("to", [*QUICK, "aot"])
def test_what_is_no_model_is_refused(tmp_path: Path, to: Format, content: bytes) -> None:
    path = tmp_path / f"model{SUFFIXES[to]}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=path.name) as refusal:
        load(path, to)
    assert "export the model again" in str(refusal.value)


@pytest.mark.parametrize("to", QUICK)
def test_a_file_that_is_cut_off_is_refused(exported: Callable[[Format], Made], tmp_path: Path, to: Format) -> None:
    whole, *_ = exported(to)
    path = tmp_path / whole.name
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ValueError, match="export the model again"):
        load(path, to)


def test_weights_that_are_missing_are_refused(exported: Callable[[Format], Made], tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    path.write_bytes(exported("openvino")[0].read_bytes())
    with pytest.raises(ValueError, match=r"model\.xml"):
        load(path, "openvino")


@pytest.mark.parametrize("to", [*QUICK, "aot"])
def test_a_missing_file_is_named(tmp_path: Path, to: Format) -> None:
    with pytest.raises(ValueError, match=r"absent.*no such file"):
        load(tmp_path / f"absent{SUFFIXES[to]}", to)


@pytest.mark.parametrize(("to", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_missing_package_is_named(
    exported: Callable[[Format], Made], monkeypatch: pytest.MonkeyPatch, to: Format, package: str
) -> None:
    path, *_ = exported(to)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"{package}.*pip install '\.\[export\]'"):
        load(path, to)


@pytest.mark.parametrize("to", QUICK)
def test_images_that_a_file_does_not_take(exported: Callable[[Format], Made], to: Format) -> None:
    _, program, _ = exported(to)
    expected = program(images(2))
    for wrong in (images(2)[..., :-1], images(0), images(2).double(), images(1)[0], images(2)[:, :1]):
        with pytest.raises(ValueError, match="this file takes"):
            program(wrong)
    torch.testing.assert_close(program(images(2)), expected)


def test_openvino_goes_on_after_an_interruption(
    exported: Callable[[Format], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino = pytest.importorskip("openvino")
    program = load(exported("openvino")[0], "openvino")
    expected = program(images(5))
    start, starts = openvino.AsyncInferQueue.start_async, iter(range(100))

    def interrupted(*arguments: object, **settings: object) -> None:
        start(*arguments, **settings)
        if next(starts) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(openvino.AsyncInferQueue, "start_async", interrupted)
    with pytest.raises(KeyboardInterrupt):
        program(images(5, seed=2))
    torch.testing.assert_close(program(images(5)), expected)


def test_signals_are_handled_after_openvino_has_gone(tmp_path: Path) -> None:
    """In a process of its own: see `openvino_core`."""
    convert(nn.Conv2d(3, 4, 3), tmp_path / "model.xml", "openvino", (32, 32))
    command = [sys.executable, "-X", "faulthandler", "-c", SIGNALS, str(tmp_path / "model.xml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("handled") == 2
