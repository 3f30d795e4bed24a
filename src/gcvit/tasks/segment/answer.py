"""What a segmentation model says of pictures: the class of every pixel, coloured and counted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor, nn

from gcvit.data.label_maps import write_labels
from gcvit.data.pixels import RGB
from gcvit.files import write_atomically
from gcvit.tasks.opened import Answer, Opened, Prepared
from gcvit.tasks.segment.inference import segment_pixels
from gcvit.tasks.segment.pictures import class_shares, overlay
from gcvit.tasks.segment.settings import SegmentLooks, SegmentTelling
from gcvit.weights.checks import require_finite
from gcvit.wording import percent

LARGEST = 5  # shares on a line


@dataclass(frozen=True)
class Segmentation(Answer):
    """The class of each pixel, `labels`: int16 (height, width), numbers in `classes`; palette: a colour for each."""

    labels: np.ndarray = field(repr=False)
    classes: list[str] = field(repr=False)
    palette: list[RGB] = field(repr=False)
    kind: Literal["png", "jpg"] = "png"

    @property
    def shares(self) -> dict[str, float]:
        """Each class's share of the pixels, 0 to 1, of those that occur, the largest first."""
        shares = zip(self.classes, class_shares(self.labels, len(self.classes)), strict=True)
        return dict(sorted(((name, share) for name, share in shares if share), key=lambda pair: -pair[1]))

    def to_dict(self) -> dict[str, Any]:
        shares = {name: float(f"{share:.6g}") for name, share in self.shares.items()}
        return {"file": self.file, "size": list(self.labels.shape), "shares": shares}

    def draw(self) -> Image.Image:
        """The picture in its classes' colours, beside the classes that occur."""
        return overlay(self.picture, self.labels, self.classes, self.palette)

    def line(self) -> str:
        shares = [f"{name} {percent(share)}" for name, share in self.shares.items()]
        more = f", {len(shares) - LARGEST} more" if len(shares) > LARGEST else ""
        return ", ".join(shares[:LARGEST]) + more

    def save(self, stem: Path) -> dict[str, str]:
        """STEM.overlay.png, STEM.labels.png (a class number per pixel, as a palette)."""
        coloured, labels = Path(f"{stem}.overlay.{self.kind}"), Path(f"{stem}.labels.png")
        content = BytesIO()
        self.draw().save(content, "PNG" if self.kind == "png" else "JPEG", quality=92)
        write_atomically(coloured, content.getvalue())
        write_labels(labels, self.labels, self.palette)
        return {"overlay": str(coloured), "labels": str(labels)}


def segment(
    opened: Opened,
    model: nn.Module,
    images: Tensor,
    pictures: Sequence[Prepared],
    looks: SegmentLooks,
    telling: SegmentTelling,
) -> list[Answer]:
    """The labels of each picture, at its own size. Raises UserError for a model that gives no numbers."""
    pixels = segment_pixels(model, images, pictures[0].size, looks.of(opened))
    require_finite(bool(pixels.finite), opened.source)
    return [
        Segmentation(picture.source, labels, opened.names, opened.palette or [], telling.overlay, pixels=opened.pixels)
        for picture, labels in zip(pictures, pixels.predicted.cpu().numpy(), strict=True)
    ]
