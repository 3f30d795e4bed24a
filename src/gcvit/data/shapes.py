"""The built-in data: sets of drawn scenes, and folders that they are written to."""

import os
import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from PIL import Image

from gcvit.data.drawing import CLASSES, Scene, draw_scene, scene_seed, sides
from gcvit.data.parts import PictureSet
from gcvit.data.pixels import Picture, picture_of
from gcvit.data.remarks import Remarks
from gcvit.data.settings import RGB8, PixelFormat
from gcvit.errors import UserError
from gcvit.files import require_folder

BUILT_IN_PIXELS = (RGB8, PixelFormat(1))  # RGB and grey

Scenes = TypeVar("Scenes", bound="Drawings")
Track = Callable[[Sequence[Any]], Iterable[Any]]  # a progress bar, or iter


class Drawings(PictureSet):
    """Scenes of a split, each drawn once and kept as uint8; what an item is, is for subclasses to say.

    :meth:`draw` draws all at once, before loader workers start, so that they share them.

    Args:
        split: "train", "val" or "test"; their seeds are disjoint.
        count: number of scenes.
        size: of the pictures, a side or (height, width), at least 16 pixels each.
        seed: of the whole data set; another one gives other scenes in every split.
        channels: of what is kept of a scene.
    """

    called = "the built-in scenes"

    def __init__(self, split: str, count: int, size: int | tuple[int, int], seed: int, channels: int):
        if count < 1:
            raise UserError(f"the {split} split needs at least one scene, got count={count}")
        scene_seed(split, 0)
        height, width = sides(size)
        self.split, self.count, self.size, self.seed = split, count, (height, width), seed
        self.remarks = Remarks()  # nothing is passed over
        self._kept = np.zeros((count, height, width, channels), dtype=np.uint8)  # pages untouched cost no memory
        self._drawn = np.zeros(count, dtype=bool)

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        """What a person calls the scene."""
        return f"built-in scene {index}"

    def drawn(self, index: int) -> np.ndarray:
        """What is kept of scene ``index``, uint8 (height, width, channels), drawn at the first call."""
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        if not self._drawn[index]:
            self._kept[index] = self._draw(index)
            self._drawn[index] = True
        return self._kept[index]

    def draw(self, track: Track = iter) -> None:
        """Draw all scenes now; ``track`` wraps the indices, and ``rich.progress.track`` shows a bar."""
        for index in track(range(self.count)):
            self.drawn(index)

    def with_pixels(self, pixels: PixelFormat) -> Self:
        """The same scenes as a model of these pixels takes them. Raises UserError for what RGB cannot become."""
        if pixels not in BUILT_IN_PIXELS:
            raise UserError(
                "the built-in scenes are RGB of 8 bits, or grey with one channel; for other in_chans or a value_range "
                "give your own images: --data PATH"
            )
        return super().with_pixels(pixels)

    def _picture(self, pixels: np.ndarray) -> Picture:
        """Of uint8 (height, width, 3)."""
        return picture_of(Image.fromarray(pixels), self.pixels)

    @abstractmethod
    def _draw(self, index: int) -> np.ndarray:
        """What to keep of scene ``index``."""


def draw_built_in(dataset: object, track: Track) -> None:
    """Draw all scenes of a built-in data set now, so that loader workers share them; nothing to do for any other."""
    if isinstance(dataset, Drawings):
        dataset.draw(track)


class ShapesDataset(Drawings):
    """Scenes of one object each for classification: item i is (transform(PIL image), label).

    Classes take turns, so any ten scenes in a row hold one of each. A drawn scene takes 12 KiB at 64 px.

    Args:
        split, count, size, seed: see :class:`Drawings`.
        transform: called on the PIL image; None gives the image itself.
    """

    called = "the built-in shapes"

    def __init__(
        self,
        split: str,
        count: int,
        size: int | tuple[int, int] = 64,
        transform: Callable[[Any], Any] | None = None,
        seed: int = 0,
    ):
        super().__init__(split, count, size, seed, channels=3)
        self.transform = transform
        self.classes = list(CLASSES)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        picture = self._picture(self.drawn(index))
        return (picture if self.transform is None else self.transform(picture)), self.label(index)

    def label(self, index: int) -> int:
        return index % len(CLASSES)

    def scene(self, index: int) -> Scene:
        """Scene ``index`` with its object's box and mask, drawn anew."""
        return draw_scene(scene_seed(self.split, index, self.seed), self.size, label=self.label(index))

    def _draw(self, index: int) -> np.ndarray:
        return self.scene(index).image


@contextmanager
def new_folder(root: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a folder beside ROOT to write to, which takes ROOT's name at the end: ROOT is whole or not there.

    Raises UserError for a ROOT that is a file or not empty, and where none can be.
    """
    root = Path(root).absolute()
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file, not a folder")
    if root.is_dir() and any(root.iterdir()):
        raise UserError(f"{root} is not empty; choose another folder, or remove it first")
    require_folder(root.parent)
    aside = root.parent / f".{root.name}.partial-{os.getpid()}"
    try:
        aside.mkdir(parents=True)
        yield aside
        if root.is_dir():
            root.rmdir()
        aside.rename(root)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_class_folders(
    root: str | os.PathLike[str],
    counts: Mapping[str, int],
    size: int | tuple[int, int] = 64,
    seed: int = 0,
    track: Track = iter,
) -> None:
    """Write the scenes of :class:`ShapesDataset` as ROOT/SPLIT/CLASS/0001.png …; ROOT is whole or not there.

    Args:
        root: a folder that does not exist yet or is empty.
        counts: pictures per split, such as {"train": 4000, "val": 1000}.
        size: of the pictures, a side or (height, width).
        seed: of the whole data set.
        track: wrapped around the sequence of pictures; ``rich.progress.track`` shows a bar.

    Raises:
        ValueError: ROOT is a file or not empty, or a split has fewer pictures than there are classes.
    """
    with new_folder(root) as aside:
        for split, count in counts.items():
            if count < len(CLASSES):
                raise UserError(f"{split} needs at least one picture per class, {len(CLASSES)}; got {count}")
        sets = [ShapesDataset(split, count, size, seed=seed) for split, count in counts.items()]
        for scenes, index in each(sets, track):
            folder = aside / scenes.split / CLASSES[scenes.label(index)]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(scenes.scene(index).image).save(folder / f"{index // len(CLASSES) + 1:04d}.png")


def each(sets: Sequence[Scenes], track: Track) -> Iterable[tuple[Scenes, int]]:
    """Every scene of several sets: its set and its number there."""
    return track([(scenes, index) for scenes in sets for index in range(len(scenes))])
