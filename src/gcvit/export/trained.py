"""A trained model as it is exported: folded, with outputs that are plain tensors, and what is known of it."""

from dataclasses import dataclass, replace
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
    def settings(self) -> dict[str, Any]:
        """What whoever runs the file must know of the model."""
        return self.opened.task.exported_settings(self.opened.model) if self.part == "model" else {}

    @property
    def outputs(self) -> tuple[str, ...]:
        """What they are called, as far as the model has them; none: as usual."""
        return self.opened.task.outputs if self.part == "model" else ()

    def paired(self, found: list[Tensor], expected: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """A file's outputs and the model's, so that they can be compared."""
        return self.opened.task.paired(found, expected) if self.part == "model" else (found, expected)

    def require(self, to: Format, *, int8: bool) -> None:
        """Raise UserError for a format that such models are not written in."""
        if self.part == "model" and (reason := self.opened.task.not_exported_as(to, int8=int8)):
            raise UserError(f"a model that {self.opened.task.does} is not written as {to}{' in int8' * int8}: {reason}")

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
