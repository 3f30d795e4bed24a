"""A segmentation model in a file that takes one size gives what the model gives of the picture continued with zeros."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gcvit.tasks.segment.exported import ExportedSegmenter, Logits, middle
from gcvit.tasks.segment.inference import segment_pixels
from gcvit.tasks.segment.settings import Looks
from tasks.segmenters import segment_logits, segmenter

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
    logits = segment_logits(model, images, (50, 70), Looks("slide", window=SIZE))
    # Cells at the right and lower edge hold zeros too, and pixels within two cells of them see these.
    assert torch.allclose(logits[:, :, :44, :64], images[:, :, :44, :64])
    assert (segment_pixels(model, images, (50, 70), Looks("slide", window=SIZE)).predicted == 1).all()


def test_a_model_is_exported_as_its_logits() -> None:
    model, images = segmenter().fold(), torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(Logits(model)(images), model(images).logits)


@pytest.mark.parametrize("size", [(64, 96), (65, 96), (80, 131), (20, 200), (1, 1)])
def test_the_middle_of_a_picture_fits_a_file(size: tuple[int, int]) -> None:
    """Cut around its middle where it is larger, continued with zeros to the right and below where it is smaller."""
    image = 1 + torch.rand(3, *size)
    found = middle(image, SIZE)
    assert found.shape == (3, *SIZE)
    top, left = (max(0, (has - wanted) // 2) for has, wanted in zip(size, SIZE, strict=True))
    height, width = min(size[0], SIZE[0]), min(size[1], SIZE[1])
    assert torch.equal(found[:, :height, :width], image[:, top : top + height, left : left + width])
    assert found.count_nonzero() == 3 * height * width
