"""A trained model as it is exported: folded, with outputs that are plain tensors, and what is known of it."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from gcvit.data.label_maps import RGB
from gcvit.errors import UserError
from gcvit.model import GCViT
from gcvit.model.config import Pair
from gcvit.tasks.backbone import backbone_of
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import Transform

Part = Literal["model", "backbone"]
BACKBONE = "backbone"  # what a sidecar has in the place of a task


@dataclass(frozen=True)
class Trained:
    """A model that is ready to be exported: images (batch, in_chans, height, width) to a tensor or four maps.

    opened: the model that it was made of. part: "backbone" for the pyramid's four maps alone.
    """

    opened: Opened
    part: Part
    model: nn.Module

    @property
    def task(self) -> str:
        """What a sidecar calls it: the task's name, or BACKBONE."""
        return self.opened.task.name if self.part == "model" else BACKBONE

    @property
    def in_chans(self) -> int:
        """Channels of the images."""
        return backbone_of(self.opened.model).config.in_chans

    @property
    def classes(self) -> list[str] | None:
        return self.opened.classes if self.part == "model" else None

    @property
    def palette(self) -> list[RGB] | None:
        return self.opened.palette if self.part == "model" else None

    @property
    def preprocessing(self) -> Any:
        return self.opened.preprocessing

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
    if part == "model":
        return Trained(opened, part, opened.task.exported(opened.folded))
    backbone = backbone_of(opened.model)
    return Trained(opened, part, _headless(backbone).fold() if backbone.config.head else backbone.fold())


def _headless(model: GCViT) -> GCViT:
    """The backbone that a classifier stands on."""
    backbone = GCViT(replace(model.config, head=False))
    state = model.state_dict()
    backbone.load_state_dict({name: state[name] for name in backbone.state_dict()})
    return backbone.eval()
