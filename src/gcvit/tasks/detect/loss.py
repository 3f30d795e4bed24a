"""What a detector is trained on: the losses of its parts."""

from collections.abc import Sequence

from torch import Tensor, nn

from gcvit.tasks.detect.objects import Targets

Batch = tuple[list[Tensor], list[Targets]]


def collate(items: Sequence[tuple[Tensor, Targets]]) -> Batch:
    """Pictures keep their sizes, so a batch is a list of them."""
    return [image for image, _ in items], [targets for _, targets in items]


def detection_loss(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The losses by name; their sum is trained, in fp32 but for the products of the backbone and the heads."""
    return model(*batch)
