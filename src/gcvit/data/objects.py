"""What annotations say of the objects in a picture."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gcvit.data import masks as mask
from gcvit.data.pixels import turning, upright_array
from gcvit.errors import UserError


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects in a picture, as they are annotated; small, since masks are run lengths.

    size: (height, width) of the picture. xywh: float64 (objects, 4), left, top, width and height in pixels, as COCO has
    them. labels: int64. crowd: bool; a crowd is a region of many, which counts for no one object. areas: float64, of
    the masks, by which an object is small, medium or large. masks: counts (see `gcvit.data.masks`), one for each
    object, or None where the data have none.
    """

    size: tuple[int, int]
    xywh: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    masks: tuple[bytes, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int]:
        """That of the picture, as of a map of labels: what is alike in it can be measured together."""
        return self.size

    @property
    def boxes(self) -> np.ndarray:
        """float32 (objects, 4): left, top, right and lower edge, in pixels."""
        return np.concatenate([self.xywh[:, :2], self.xywh[:, :2] + self.xywh[:, 2:]], axis=1).astype(np.float32)

    def bitmaps(self) -> np.ndarray:
        """uint8 (objects, height, width), 1 where each object is. Raises UserError where the data have no masks."""
        if self.masks is None:
            raise UserError("these objects have boxes only, and no masks")
        return mask.decode(self.masks, self.size)

    def chosen(self, which: np.ndarray) -> "Objects":
        """Some of them, by numbers or by a bool for each."""
        numbers = np.arange(len(self))[which]
        masks = None if self.masks is None else tuple(self.masks[number] for number in numbers)
        columns: dict[str, Any] = {name: getattr(self, name)[which] for name in ("xywh", "labels", "crowd", "areas")}
        return replace(self, masks=masks, **columns)

    def turned(self, orientation: int) -> "Objects":
        """As they are in the picture that is turned upright by an EXIF orientation, 1 to 8."""
        if orientation == 1:
            return self
        swap, flip_x, flip_y = turning(orientation)
        height, width = self.size[::-1] if swap else self.size
        xywh = self.xywh[:, [1, 0, 3, 2]] if swap else self.xywh.copy()
        if flip_x:
            xywh[:, 0] = width - xywh[:, 0] - xywh[:, 2]
        if flip_y:
            xywh[:, 1] = height - xywh[:, 1] - xywh[:, 3]
        masks = self.masks
        if masks is not None:
            masks = mask.encode(upright_array(self.bitmaps(), orientation))
        return replace(self, size=(height, width), xywh=xywh, masks=masks)
