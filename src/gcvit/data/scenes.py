"""The built-in scenes for segmentation: several objects on a ground, with the class of each pixel."""

import os
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from gcvit.data.label_maps import default_palette, label_image
from gcvit.data.pixels import Picture, as_rgb
from gcvit.data.sampling import derive_seed
from gcvit.data.segment_folders import CLASSES as CLASSES_FILE
from gcvit.data.segment_folders import LABELS, PICTURES
from gcvit.data.shapes import CLASSES, Drawings, Scene, Track, draw_scene, each, new_folder, scene_seed

MOST_OBJECTS = 3
SCENE_CLASSES = ("ground", *CLASSES)
FOLDERS = {"train": "training", "val": "validation", "test": "test"}


class ShapeScenes(Drawings):
    """Scenes of one to three objects: item i is (PIL image, int16 labels (height, width)), 0 for the ground.

    A drawn scene is kept as uint8 (36 KiB at 96 px); :meth:`draw` draws all at once, before loader workers start, so
    that they share them.

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
