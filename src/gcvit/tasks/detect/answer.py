"""What a detector says of pictures: objects, each with its box, mask, name and score."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor, nn

from gcvit.model.config import Pair
from gcvit.tasks.detect.inference import Found, found_in
from gcvit.tasks.detect.pictures import DetectedObject, mark
from gcvit.tasks.detect.settings import DetectLooks, DetectTelling
from gcvit.tasks.opened import Answer, Opened, Prepared

LARGEST = 5  # kinds of objects on a line


@dataclass(frozen=True)
class Detection(Answer):
    """The objects in a picture, the surest first. size: the picture's (height, width) in pixels."""

    size: Pair
    objects: tuple[DetectedObject, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Objects by name, the most frequent first."""
        return dict(Counter(one.label for one in self.objects).most_common())

    def to_dict(self) -> dict[str, Any]:
        """Boxes are left, top, right, lower edge; masks are COCO's run lengths."""
        found = []
        for one in self.objects:
            row: dict[str, Any] = {"label": one.label, "score": float(f"{one.score:.6g}")}
            row["box"] = [round(edge, 2) for edge in one.box]
            if one.mask is not None:
                row["segmentation"] = {"size": list(self.size), "counts": one.mask.decode()}
            found.append(row)
        return {"file": self.file, "size": list(self.size), "objects": found}

    def draw(self) -> Image.Image:
        """The picture with the objects' masks, boxes, names and scores."""
        return mark(self.picture, self.objects)

    def line(self) -> str:
        said = [f"{number} {name}" for name, number in self.counts.items()]
        more = f", {len(said) - LARGEST} more kinds" if len(said) > LARGEST else ""
        return ", ".join(said[:LARGEST]) + more if said else "nothing"


def detect(
    opened: Opened,
    model: nn.Module,
    images: Tensor,
    pictures: Sequence[Prepared],
    looks: DetectLooks,
    telling: DetectTelling,
) -> list[Answer]:
    """The objects in each picture."""
    rows = found_in(opened, model, images, pictures[0].size, looks)
    return [_answer(opened, picture, found, telling) for picture, found in zip(pictures, rows, strict=True)]


def _answer(opened: Opened, picture: Prepared, found: Found, telling: DetectTelling) -> Detection:
    assert opened.palette is not None
    objects = []
    for number, (box, score, label) in enumerate(zip(found.boxes.tolist(), found.scores, found.labels, strict=True)):
        if score >= telling.min_score:
            mask = None if found.masks is None else found.masks[number]
            colour = opened.palette[label]
            objects.append(DetectedObject(opened.names[label], float(score), tuple(box), mask, colour))
    return Detection(picture.source, picture.size, tuple(objects), pixels=opened.pixels)
