"""A segmentation model in a file that takes one size gives what the model gives of the picture continued with zeros."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gcvit.export.opening import ExportedSegmenter, exported_device, is_exported
from gcvit.tasks.segment.inference import Looks, segment_logits, segment_pixels

SIZE = (64, 96)
KERNEL = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def program(images: Tensor) -> list[Tensor]:
    """Logits of five classes at stride 4, of images of one size."""
    assert images.shape[1:] == (3, *SIZE)
    return [F.conv2d(images, KERNEL, stride=4)]


@pytest.mark.parametrize("size", [(64, 96), (63, 96), (33, 90), (32, 32), (61, 35)])
def test_smaller_images_are_continued_and_their_logits_cut(size: tuple[int, int]) -> None:
    height, width = size
    images = torch.randn(2, 3, height, width)
    canvas = torch.zeros(2, 3, *SIZE)
    canvas[:, :, :height, :width] = images
    expected = program(canvas)[0][:, :, : (height + 3) // 4, : (width + 3) // 4]
    output = ExportedSegmenter(program, SIZE).eval()(images)
    assert output.auxiliary is None
    assert torch.equal(output.logits, expected)


@pytest.mark.parametrize("size", [(65, 96), (64, 97), (200, 300)])
def test_larger_images_are_refused_with_both_sizes(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"64×96 pixels, and {size[0]}×{size[1]}"):
        ExportedSegmenter(program, SIZE)(torch.zeros(1, 3, *size))


def test_a_picture_that_fits_is_one_window() -> None:
    """A cell's logits stand for its four pixels, whatever is cut off: a constant picture stays constant."""
    model = ExportedSegmenter(lambda images: [F.avg_pool2d(images, 4)], SIZE)
    images = torch.ones(1, 3, 50, 70)
    images[:, 1] = 2
    logits = segment_logits(model, images, (50, 70), mode="slide", window=SIZE)
    # Cells at the right and lower edge hold zeros too, and pixels within two cells of them see these.
    assert torch.allclose(logits[:, :, :44, :64], images[:, :, :44, :64])
    assert (segment_pixels(model, images, (50, 70), Looks("slide", SIZE)).predicted == 1).all()


def test_folding_it_changes_nothing() -> None:
    model = ExportedSegmenter(program, SIZE)
    assert model.fold() is model


@pytest.mark.parametrize("name", ["a.onnx", "out/b.xml", "c.pt2", "c.aot.pt2"])
def test_exported_files_are_known_by_their_names(name: str) -> None:
    assert is_exported(name)
    assert not is_exported(f"{name}.json")


@pytest.mark.parametrize("name", ["gcvit_tiny", "runs/one", "model.safetensors", "model.pt", "onnx", "xml"])
def test_checkpoints_are_none(name: str) -> None:
    assert not is_exported(name)


def test_files_run_on_the_cpu() -> None:
    assert exported_device("auto") == exported_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:1", "tpu"):
        with pytest.raises(ValueError, match="exported files run on the CPU"):
            exported_device(name)
