"""The built-in scenes for segmentation: several objects on a ground, with the class of each pixel."""

import os
from collections.abc import Mapping

import numpy as np
from PIL import Image

from gcvit.data.label_maps import default_palette, label_image
from gcvit.data.sampling import derive_seed
from gcvit.data.segment_folders import CLASSES as CLASSES_FILE
from gcvit.data.segment_folders import LABELS, PICTURES
from gcvit.data.shapes import CLASSES, Drawings, Scene, Track, draw_scene, new_folder, scene_seed

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

    def __init__(self, split: str, count: int, size: int | tuple[int, int] = (96, 96), seed: int = 0):
        super().__init__(split, count, size, seed, channels=4)
        self.classes = list(SCENE_CLASSES)
        self.palette = default_palette(len(SCENE_CLASSES))

    def __getitem__(self, index: int) -> tuple[Image.Image, np.ndarray]:
        drawn = self.drawn(index)
        return Image.fromarray(drawn[..., :3]), drawn[..., 3].astype(np.int16)

    def scene(self, index: int) -> Scene:
        """Scene ``index`` with the boxes and masks of its objects, drawn anew."""
        seed = scene_seed(self.split, index, self.seed)
        return draw_scene(seed, self.size, objects=1 + derive_seed(seed) % MOST_OBJECTS)

    def _draw(self, index: int) -> np.ndarray:
        scene = self.scene(index)
        labels = np.zeros((*self.size, 1), dtype=np.uint8)
        for found in scene.objects:
            labels[found.mask] = 1 + found.label
        return np.concatenate([scene.image, labels], axis=2)


def write_segmentation_folders(
    root: str | os.PathLike[str],
    counts: Mapping[str, int],
    size: int | tuple[int, int] = (96, 96),
    seed: int = 0,
    track: Track = iter,
) -> None:
    """Write the scenes of :class:`ShapeScenes` as ROOT/images/training/0001.png …, ROOT/annotations/training/0001.png …
    with palettes, the same in validation/, and ROOT/classes.txt; ROOT is whole or not there.

    Args:
        root: a folder that does not exist yet or is empty.
        counts: scenes per split, such as {"train": 2000, "val": 200}.
        size: of the pictures, a side or (height, width).
        seed: of the whole data set.
        track: wrapped around the sequence of scenes; ``rich.progress.track`` shows a bar.

    Raises:
        ValueError: ROOT is a file or not empty, or a split has no scene.
    """
    with new_folder(root) as aside:
        datasets = [ShapeScenes(split, count, size, seed) for split, count in counts.items()]
        (aside / CLASSES_FILE).write_text("".join(f"{name}\n" for name in SCENE_CLASSES), "utf8")
        for split in counts:
            for kind in (PICTURES, LABELS[0]):
                (aside / kind / FOLDERS[split]).mkdir(parents=True)
        numbered = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
        for source, index in track(numbered):
            image, labels = source[index]
            file = f"{FOLDERS[source.split]}/{index + 1:04d}.png"
            image.save(aside / PICTURES / file)
            label_image(labels, source.palette).save(aside / LABELS[0] / file)
