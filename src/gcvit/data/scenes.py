"""The built-in scenes for segmentation, with the class of each pixel, and for detection, with boxes and masks."""

import json
import os
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from gcvit.data import masks as mask
from gcvit.data.coco_folders import ANNOTATIONS
from gcvit.data.drawing import CLASSES, Scene, draw_scene, scene_seed
from gcvit.data.label_maps import default_palette, label_image
from gcvit.data.objects import Objects
from gcvit.data.pixels import Picture, as_rgb
from gcvit.data.sampling import derive_seed
from gcvit.data.segment_folders import CLASSES as CLASSES_FILE
from gcvit.data.segment_folders import LABELS, PICTURES
from gcvit.data.shapes import Drawings, Track, each, new_folder

MOST_OBJECTS = 3
SCENE_CLASSES = ("ground", *CLASSES)
FOLDERS = {"train": "training", "val": "validation", "test": "test"}


class ShapeScenes(Drawings):
    """Scenes of one to three objects: item i is (PIL image, int16 labels (height, width)), 0 for the ground.

    A drawn scene takes 36 KiB at 96 px.

    Args:
        split, count, size, seed: see :class:`gcvit.data.shapes.Drawings`.

    Attributes:
        classes: names by label.
        palette: a colour by label.
    """

    names: Sequence[str] = SCENE_CLASSES
    apart = 0  # added for each object drawn before; else objects of one class look alike

    def __init__(self, split: str, count: int, size: int | tuple[int, int] = (96, 96), seed: int = 0):
        super().__init__(split, count, size, seed, channels=4)
        self.classes = list(self.names)
        self.palette = default_palette(len(self.names))

    def __getitem__(self, index: int) -> tuple[Picture, np.ndarray]:
        drawn = self.drawn(index)
        return self._picture(drawn[..., :3]), drawn[..., 3].astype(np.int16)

    def scene(self, index: int) -> Scene:
        """Scene ``index`` with the boxes and masks of its objects, drawn anew."""
        seed = scene_seed(self.split, index, self.seed)
        return draw_scene(seed, self.size, objects=1 + derive_seed(seed) % MOST_OBJECTS)

    def _draw(self, index: int) -> np.ndarray:
        scene = self.scene(index)
        kept = np.zeros((*self.size, 1), dtype=np.uint8)
        for number, found in enumerate(scene.objects):
            kept[found.mask] = 1 + number * self.apart + found.label
        return np.concatenate([scene.image, kept], axis=2)


def write_segmentation_folders(
    root: str | os.PathLike[str],
    counts: Mapping[str, int],
    size: int | tuple[int, int] = (96, 96),
    seed: int = 0,
    track: Track = iter,
) -> None:
    """Write the scenes of :class:`ShapeScenes` as ROOT/images/training/0001.png …, ROOT/annotations/training/0001.png …
    with palettes, the same in validation/, and ROOT/classes.txt; ROOT is whole or not there.

    Arguments and errors are those of :func:`gcvit.data.shapes.write_class_folders`; a split needs one scene.
    """
    with new_folder(root) as aside:
        sets = [ShapeScenes(split, count, size, seed) for split, count in counts.items()]
        (aside / CLASSES_FILE).write_text("".join(f"{name}\n" for name in SCENE_CLASSES), "utf8")
        for kind, split in product((PICTURES, LABELS[0]), counts):
            (aside / kind / FOLDERS[split]).mkdir(parents=True)
        for scenes, index in each(sets, track):
            picture, labels = scenes[index]
            file = f"{FOLDERS[scenes.split]}/{index + 1:04d}.png"
            as_rgb(picture).save(aside / PICTURES / file)
            label_image(labels, scenes.palette).save(aside / LABELS[0] / file)


Entries = list[dict[str, object]]


class ObjectScenes(ShapeScenes):
    """The scenes of :class:`gcvit.data.scenes.ShapeScenes`: item i is (picture, `Objects`), in drawing order. A mask
    is what is seen of an object, and its box is tight around that."""

    names = CLASSES
    apart = len(CLASSES)

    def __getitem__(self, index: int) -> tuple[Picture, Objects]:  # type: ignore[override]
        drawn = self.drawn(index)
        values = np.unique(drawn[..., 3])
        values = values[values > 0]
        masks = mask.encode(drawn[..., 3] == values[:, None, None])
        return self._picture(drawn[..., :3]), Objects(
            size=self.size,
            xywh=mask.boxes(masks, self.size),
            labels=(values.astype(np.int64) - 1) % len(CLASSES),
            crowd=np.zeros(len(values), bool),
            areas=mask.areas(masks, self.size),
            masks=masks,
        )

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width) of a picture."""
        return self.size

    def image_id(self, index: int) -> int:
        return index + 1

    def category_id(self, label: int) -> int:
        return label + 1

    @property
    def has_masks(self) -> bool:
        return True


def write_coco_folders(
    root: str | os.PathLike[str],
    counts: Mapping[str, int],
    size: int | tuple[int, int] = (96, 96),
    seed: int = 0,
    track: Track = iter,
) -> None:
    """Write the scenes of :class:`ObjectScenes` as COCO lays them out: ROOT/train/0001.png … with
    ROOT/annotations/instances_train.json, the same for val; ROOT is whole or not there.

    Arguments and errors are those of :func:`gcvit.data.shapes.write_class_folders`; a split needs one scene.
    """
    with new_folder(root) as aside:
        sets = [ObjectScenes(split, count, size, seed) for split, count in counts.items()]
        categories: Entries = [{"id": 1 + label, "name": name} for label, name in enumerate(CLASSES)]
        found = {split: {"images": Entries(), "annotations": Entries(), "categories": categories} for split in counts}
        for folder in (ANNOTATIONS[0], *counts):
            (aside / folder).mkdir()
        for scenes, index in each(sets, track):
            image, objects = scenes[index]
            name = f"{index + 1:04d}.png"
            as_rgb(image).save(aside / scenes.split / name)
            _add(found[scenes.split], scenes.image_id(index), name, objects)
        for split, content in found.items():
            (aside / ANNOTATIONS[0] / f"instances_{split}.json").write_text(json.dumps(content), "utf8")


def _add(content: dict[str, Entries], image_id: int, name: str, objects: Objects) -> None:
    """Add a picture and its objects to an annotation file."""
    height, width = objects.size
    content["images"].append({"id": image_id, "file_name": name, "height": height, "width": width})
    assert objects.masks is not None
    for box, label, area, counts in zip(objects.xywh, objects.labels, objects.areas, objects.masks, strict=True):
        content["annotations"].append(
            {
                "id": 1 + len(content["annotations"]),
                "image_id": image_id,
                "category_id": 1 + int(label),
                "bbox": box.tolist(),
                "area": float(area),
                "iscrowd": 0,
                "segmentation": {"size": [height, width], "counts": counts.decode()},
            }
        )
