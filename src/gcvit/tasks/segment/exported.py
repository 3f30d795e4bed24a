"""Segmentation models as they are exported, and exported files in their place."""

from collections.abc import Callable

from torch import Tensor, nn

from gcvit.errors import UserError
from gcvit.model.config import Pair
from gcvit.tasks.pyramid import filled
from gcvit.tasks.segment.segmenter import SegmentationModel, SegmenterOutput

STRIDE = 4  # pixels that a cell of the logits stands for


class Logits(nn.Module):
    """What an exported segmentation model gives: logits (batch, classes, rows, columns), stride 4."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).logits


class ExportedSegmenter(SegmentationModel):
    """The segmentation model in a file, which takes images of one size: smaller ones are continued with zeros, the mean
    colour, to the right and below."""

    def __init__(self, program: Callable[[Tensor], list[Tensor]], size: Pair) -> None:
        super().__init__()
        self.program, self.size = program, size

    def forward(self, images: Tensor) -> SegmenterOutput:
        """Images of at most `size`. Raises UserError for larger ones."""
        height, width = images.shape[-2:]
        if height > self.size[0] or width > self.size[1]:
            raise UserError(
                f"this file takes {self.size[0]}×{self.size[1]} pixels, and {height}×{width} are to be seen at once; "
                f"leave out --mode whole, or export the model at that size"
            )
        (logits,) = self.program(filled(images, self.size))
        return SegmenterOutput(logits[:, :, : -(-height // STRIDE), : -(-width // STRIDE)], None)


def middle(image: Tensor, size: Pair) -> Tensor:
    """The part of (channels, height, width) around its middle; zeros, the mean colour, right and below if it is
    smaller, as where windows slide."""
    height, width = size
    top, left = (max(0, (has - wanted) // 2) for has, wanted in zip(image.shape[1:], size, strict=True))
    return filled(image[:, top : top + height, left : left + width], size)
