"""A trained model as it is exported: folded, with outputs that are plain tensors, and what is known of it."""

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from gcvit.data.augment import Transform
from gcvit.data.pixels import RGB
from gcvit.errors import UserError
from gcvit.export.formats import BACKBONE, Format, Part
from gcvit.model import GCViT
from gcvit.model.config import Pair
from gcvit.tasks.backbone import backbone_of
from gcvit.tasks.opened import Opened


@dataclass(frozen=True)
class Trained:
    """A model that is ready to be exported: images (batch, in_chans, height, width) to a tensor or four maps.

    opened: the model that it was made of. task: what a sidecar calls it, the task's name, or BACKBONE for the pyramid's
    four maps alone, which have no classes and no palette. in_chans: channels of the images. outputs: what they are
    called, as far as the model has them; none: as usual. settings: what whoever runs the file must know of the model.
    """

    opened: Opened
    task: str
    model: nn.Module
    in_chans: int
    classes: list[str] | None = None
    palette: list[RGB] | None = None
    outputs: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def paired(self, found: list[Tensor], expected: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """A file's outputs and the model's, so that they can be compared."""
        return (found, expected) if self.task == BACKBONE else self.opened.task.paired(found, expected)

    def require(self, to: Format, *, int8: bool) -> None:
        """Raise UserError for a format that such models are not written in."""
        if self.task != BACKBONE and (reason := self.opened.task.not_exported_as(to, int8=int8)):
            raise UserError(f"a model that {self.opened.task.does} is not written as {to}{' in int8' * int8}: {reason}")

    @property
    def size(self) -> Pair:
        """Height and width in pixels that the images have."""
        return self.opened.task.size(self.opened.preprocessing)

    def resized(self, size: Pair) -> "Trained":
        """The same for images of another size; the windows stay."""
        return replace(self, opened=self.opened.resized(size))

    def transform(self) -> Transform:
        """From a picture to an image of `size`."""
        return self.opened.task.fitted(self.opened)


def as_exported(opened: Opened, part: Part = "model") -> Trained:
    """Make of an opened model what is exported of it. Raises UserError for an exported file."""
    if opened.exported:
        raise UserError(f"{opened.source} is an exported file, which only runs; give the checkpoint that it came from")
    task, backbone = opened.task, backbone_of(opened.model)
    channels = backbone.config.in_chans
    if part == "backbone":
        return Trained(opened, BACKBONE, (_headless(backbone) if backbone.config.head else backbone).fold(), channels)
    model, settings = task.exported(opened.folded), task.exported_settings(opened.model)
    return Trained(opened, task.name, model, channels, opened.classes, opened.palette, task.outputs, settings)


def _headless(model: GCViT) -> GCViT:
    """The backbone that a classifier stands on."""
    backbone = GCViT(replace(model.config, head=False))
    state = model.state_dict()
    backbone.load_state_dict({name: state[name] for name in backbone.state_dict()})
    return backbone.eval()
