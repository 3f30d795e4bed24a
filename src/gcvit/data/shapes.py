"""The built-in data: scenes of shapes on textured grounds, drawn from a seed, with exact boxes and masks.

A scene is a function of its seed and size on every platform and with every release of NumPy or Pillow: the
random numbers are PCG64's doubles, and pixels come from element-wise +, −, ×, ÷ and square root only, which
IEEE 754 rounds exactly. Neither colour nor texture, place, size or rotation says anything about the class.
Objects are lighter than their ground: with lighter and darker ones mixed, no single pixel's value speaks for any
class, and a network needs several times as many images before it begins to learn.
"""

import math
import os
import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from PIL import Image

from gcvit.data.outlines import OUTLINES
from gcvit.data.parts import PictureSet
from gcvit.data.pixels import Picture, picture_of
from gcvit.data.remarks import Remarks
from gcvit.data.settings import RGB8, PixelFormat
from gcvit.data.textures import between, photograph, texture, tint
from gcvit.errors import UserError
from gcvit.files import require_folder

BUILT_IN_PIXELS = (RGB8, PixelFormat(1))  # RGB and grey

CLASSES: tuple[str, ...] = tuple(OUTLINES)
SPLITS = ("train", "val", "test")

MIN_VISIBLE = 0.8  # share of an object that later ones must leave visible, so that what it is can be seen
TILT = math.pi / 6  # largest rotation of an object, either way
DARK = 0.55  # largest value of a ground's channels, 0 to 1
LIGHTER = 0.3  # least lead of an object over the ground in mean value
CONTRAST = 0.55  # least distance between an object's colour and the ground's, in the RGB cube of side 1

Scenes = TypeVar("Scenes", bound="Drawings")
Track = Callable[[Sequence[Any]], Iterable[Any]]  # a progress bar, or iter


@dataclass(frozen=True, eq=False)
class Object:
    """One object of a scene.

    Attributes:
        label: index into ``CLASSES``.
        box: (x0, y0, x1, y1) in pixels, tight around the mask; x1, y1 are the far edges of its last pixels.
        mask: bool (height, width), the pixels where this object is what one sees.
    """

    label: int
    box: tuple[float, float, float, float]
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture, uint8 (height, width, 3), and what is on it in drawing order: later covers earlier."""

    image: np.ndarray
    objects: tuple[Object, ...]


def draw_scene(
    seed: int,
    size: int | tuple[int, int] = 64,
    objects: int = 1,
    label: int | None = None,
    small_as: int | None = None,
) -> Scene:
    """Draw the scene of ``seed``.

    Args:
        seed: any integer ≥ 0.
        size: of the picture, a side or (height, width), at least 16 pixels each.
        objects: how many to place. One is 0.48 to 0.76 of the short side across; several are smaller. Each
            lies wholly inside, and leaves ``MIN_VISIBLE`` of every earlier one to see: where no such place is
            found in 20 draws, the object is left out, so a crowded scene may hold fewer.
        label: class of every object; None draws one for each.
        small_as: make them as small as they are among so many; None: as among ``objects``.
    """
    height, width = _sides(size)
    if objects < 1:
        raise UserError(f"a scene needs at least one object, got objects={objects}")
    if label is not None and not 0 <= label < len(CLASSES):
        raise UserError(f"label must be in 0…{len(CLASSES) - 1} (see CLASSES), got {label}")
    rng = np.random.Generator(np.random.PCG64(seed))

    ground = DARK * rng.random(3)
    image = ground + texture(rng, height, width)[..., None] * tint(rng, 0.2)
    taken: list[np.ndarray] = []
    labels: list[int] = []
    masks: list[np.ndarray] = []
    areas: list[int] = []
    for _ in range(objects):
        kind = int(rng.random() * len(CLASSES)) if label is None else label
        for _ in range(20):
            where, coverage = _place(rng, kind, height, width, small_as or objects)
            mask = np.zeros((height, width), dtype=bool)
            mask[where] = coverage >= 0.5
            if all((old & ~mask).sum() >= MIN_VISIBLE * area for old, area in zip(masks, areas, strict=True)):
                break
        else:
            continue
        colour = _colour(rng, ground, taken)
        patch = image[where]
        paint = colour + texture(rng, *patch.shape[:2])[..., None] * tint(rng, 0.12)
        patch += coverage[..., None] * (paint - patch)
        masks = [old & ~mask for old in masks] + [mask]
        taken.append(colour)
        labels.append(kind)
        areas.append(int(mask.sum()))
    found = (Object(kind, _box(mask), mask) for kind, mask in zip(labels, masks, strict=True))
    return Scene(photograph(rng, image), tuple(found))


def scene_seed(split: str, index: int, seed: int = 0) -> int:
    """The seed of one scene of a split of the data set ``seed``: no two of them share any."""
    if split not in SPLITS:
        raise UserError(f"no split {split!r}; the built-in data has {', '.join(SPLITS)}")
    return (seed << 40) + index * len(SPLITS) + SPLITS.index(split)


class Drawings(PictureSet):
    """Scenes of a split, each drawn once and kept as uint8; what an item is, is for subclasses to say.

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
        height, width = _sides(size)
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

    Classes take turns, so any ten scenes in a row hold one of each. A drawn scene is kept as uint8 (12 KiB at
    64 px); :meth:`draw` draws all at once, before loader workers start, so that they share them.

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


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 16:
        raise UserError(f"a scene needs at least 16 pixels a side, got size={size}")
    return height, width


def _place(
    rng: np.random.Generator, kind: int, height: int, width: int, objects: int
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Size, place and rotation of an object: the part of the picture it may touch and its coverage there."""
    radius = max(min(height, width) * between(rng, 0.24, 0.38) / objects**0.4, 6.0)
    x, y = between(rng, radius, width - radius), between(rng, radius, height - radius)
    angle = between(rng, -TILT, TILT)
    cos, sin = round(math.cos(angle), 9), round(math.sin(angle), 9)  # platforms differ in the 16th digit
    top, left = max(0, int(y - radius) - 1), max(0, int(x - radius) - 1)
    bottom, right = min(height, int(y + radius) + 2), min(width, int(x + radius) + 2)
    down = (np.arange(top, bottom)[:, None] + (0.5 - y)) / radius
    across = (np.arange(left, right)[None, :] + (0.5 - x)) / radius
    distance = OUTLINES[CLASSES[kind]](across * cos + down * sin, down * cos - across * sin) * radius
    return (slice(top, bottom), slice(left, right)), np.clip(0.5 - distance, 0.0, 1.0)


def _colour(rng: np.random.Generator, ground: np.ndarray, taken: list[np.ndarray]) -> np.ndarray:
    """A lighter colour than the ground's, well apart from it, and from other objects' as far as there is room."""
    apart = CONTRAST
    while True:
        colour = rng.random(3)
        if colour.sum() < ground.sum() + 3 * LIGHTER:
            continue
        if _distance(colour, ground) >= CONTRAST and all(_distance(colour, other) >= apart for other in taken):
            return colour
        apart *= 0.97


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
