"""Pictures with boxes and masks from COCO's files: to train on and to evaluate on, with the same classes."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gcvit.data.coco import CocoFile, Id, remarks_on
from gcvit.data.coco_checks import CORNERS, look_like_corners
from gcvit.data.coco_folders import Layout, PictureFiles, find_coco
from gcvit.data.coco_reading import read_coco
from gcvit.data.formats.decoding import Head
from gcvit.data.images import ImageError, Source, head_of, load_picture
from gcvit.data.label_maps import default_palette
from gcvit.data.masks import Size
from gcvit.data.objects import Objects
from gcvit.data.parts import SampledPictures, open_both, open_one
from gcvit.data.pixels import SMALLEST, Picture, size_of
from gcvit.data.remarks import Remarks
from gcvit.data.samples import Samples
from gcvit.data.settings import CocoReading
from gcvit.data.split_names import WHOLE
from gcvit.errors import UserError
from gcvit.wording import harmless, listed, plural

AS_USUAL = CocoReading()


def frame_of(reading: CocoReading, source: Source, upright: Size, told: Size) -> Head | None:
    """How the picture lies on which annotations were made: as it is stored, or upright; None where the size that is
    told for it is neither its own nor explained by EXIF.

    upright: (height, width) of the picture turned upright. told: as the annotations say, zeros where they do not.
    Raises ImageError for a file that has to be opened for the answer, and cannot be.
    """
    known = min(told) > 0
    if reading.turned is not False and (not known or told == upright):
        return Head(upright, 1)
    if reading.turned is not False and told != upright[::-1]:
        return None
    head = head_of(source)
    if reading.turned:
        return Head(upright, 1) if told == head.stored else None
    if (known and told != head.stored) or (reading.turned is None and head.stored == upright):
        return None
    return head


class CocoPictures(SampledPictures):
    """Pictures with their annotated objects; item i is (picture, `Objects`), RGB or what `pixels` says.

    Raises :class:`gcvit.data.images.ImageError`, which names the file, for a damaged picture, and for one of another
    size than the annotation file says.

    Attributes:
        file: the annotations.
        samples: (where the picture is, its row in `file`).
        classes: names by label.
        labels: for each label in `file` the one in `classes`.
        palette: a colour by label.
        trained_on: which objects of the file count, bool; None: all, crowds too.
        remarks: what was passed over.
    """

    def __init__(
        self,
        file: CocoFile,
        samples: Samples,
        reading: CocoReading = AS_USUAL,
        remarks: Remarks | None = None,
    ) -> None:
        self.root, self.file, self.samples, self.reading = file.path, replace(file, names=()), samples, reading
        self.trained_on: np.ndarray | None = None
        self.classes = file.class_names
        self.labels = np.arange(len(self.classes))
        self.palette = default_palette(len(self.classes))
        self.remarks = remarks or Remarks()

    def __getitem__(self, index: int) -> tuple[Picture, Objects]:
        source, row = self.samples[index]
        image = load_picture(source, self.pixels)
        upright, told = size_of(image)[::-1], self.image_size(index)
        frame = frame_of(self.reading, source, upright, told)
        if frame is None:
            raise ImageError(
                f"cannot read image {source}: {upright[1]}×{upright[0]} px, while {self.file.path} says "
                f"{told[1]}×{told[0]}, so that its boxes would not fit"
            )
        found = self.file.objects(row, frame.stored, self.trained_on)
        return image, replace(found, labels=self.labels[found.labels]).turned(frame.orientation)

    def image_size(self, index: int) -> Size:
        """(height, width) of a picture as the annotation file says; (0, 0) for one whose size nobody could tell."""
        height, width = self.file.sizes[int(self.samples.labels[index])].tolist()
        return height, width

    def aspect(self, index: int) -> float:
        """Width by height, as the annotation file says; 1 where nobody could tell."""
        height, width = self.image_size(index)
        return width / height if height and width else 1.0

    def image_id(self, index: int) -> Id:
        """The id of a picture in the annotation file."""
        return self.file.image_id(int(self.samples.labels[index]))

    def category_id(self, label: int) -> Id | None:
        """The id, in the annotation file, of a class; None for one that it does not have."""
        for category, own in zip(self.file.categories, self.labels, strict=True):
            if own == label:
                return category.ids[0]
        return None

    @property
    def has_masks(self) -> bool:
        """Whether any object has a mask."""
        return self.file.has_masks

    def counts(self) -> list[int]:
        """Objects of each class, by label, in these pictures; crowds included where they count."""
        labels = self.labels[self.file.labels.numpy()]
        which = np.ones(len(labels), bool) if self.trained_on is None else self.trained_on.copy()
        which &= np.isin(self.file.rows(), self.samples.labels) & (labels >= 0)
        return np.bincount(labels[which], minlength=len(self.classes)).tolist()

    def with_classes(self, classes: Sequence[str]) -> "CocoPictures":
        """The same pictures with labels that count `classes`. Raises UserError for objects of another class."""
        objects = self.counts()
        if extra := [name for name, n in zip(self.classes, objects, strict=True) if n and name not in classes]:
            raise UserError(
                f"{self.file.path}: objects of classes that the training data do not have: {listed(extra, show=repr)}; "
                f"they have {listed(classes, show=repr)}"
            )
        place = {name: label for label, name in enumerate(classes)}
        labels = np.array([place.get(name, -1) for name in self.file.class_names], np.int64)
        return self._with(classes=list(classes), labels=labels, palette=default_palette(len(classes)))

    def for_training(self) -> "CocoPictures":
        """The pictures and objects that can be learnt from.

        Left out are crowds, objects to be ignored, without an area, below a pixel wide or high or outside the picture,
        and pictures with a side below 32 pixels or without such objects. What is left out is a remark.

        Raises UserError where nothing is left.
        """
        which, rows = self.file.trained_on(), self.file.rows()
        every, number = (np.bincount(of, minlength=len(self.file))[self.samples.labels] for of in (rows, rows[which]))
        sizes = self.file.sizes.numpy()[self.samples.labels].min(1, initial=2**31 - 1)
        small = (sizes < SMALLEST) & (sizes > 0)
        empty = number == 0
        kept = np.flatnonzero(~small & ~empty)
        if not len(kept):
            raise UserError(
                f"{self.file.path}: no objects to train on in its {plural(len(self), 'picture')}; `gcvit doctor` says "
                "what is wrong with them"
            )
        notes = []
        if small.any():
            notes.append(f"{plural(int(small.sum()), 'picture')} with a side below {SMALLEST} pixels")
        if (empty & ~small).any():
            notes.append(f"{plural(int((empty & ~small).sum()), 'picture')} without objects to learn from")
        if lost := int((every - number).sum()):
            objects = plural(int(every.sum()), "object")
            notes.append(f"{lost:,} of {objects}: crowds, to be ignored, without area, below 1 px or outside")
            if self.file.without_mask():
                notes[-1] += ", or without a mask (--no-masks learns from their boxes)"
        remarks = Remarks.joined(self.remarks)
        remarks.notes += [f"{self.file.path}: left out of training are {'; '.join(notes)}"] if notes else []
        return self._with(samples=self.samples[kept], trained_on=which, remarks=remarks)


def open_coco(
    root: str | Path,
    reading: CocoReading = AS_USUAL,
    *,
    val_fraction: float = 0.1,
    seed: int = 0,
    masks: bool = True,
) -> tuple[CocoPictures, CocoPictures]:
    """The training pictures of `root`, without what cannot be learnt from, and the held-out ones, of the same classes.

    Args:
        root: a folder or an annotation file, see :func:`gcvit.data.coco_folders.find_coco`. Without a held-out part
            the pictures are divided.
        reading: how annotations are read.
        val_fraction, seed: as in :func:`gcvit.data.parts.open_both`.
        masks: whether they are wanted: then objects without one are not learnt from, in a set where others have one.

    Raises UserError for nothing to train on, for annotation files that cannot be read, none of whose pictures are
    there, or whose held-out part has objects of other classes.
    """
    layout = find_coco(root)
    if layout.training is None:
        raise UserError(f"{layout.root} has {layout.parts[layout.held_out or WHOLE]} but nothing to train on")
    read = _opener(layout, reading, masks)
    train, held_out = open_both(layout, read, val_fraction, seed)
    return train.for_training(), held_out.with_classes(train.classes)


def open_coco_held_out(
    root: str | Path,
    reading: CocoReading = AS_USUAL,
    *,
    val_fraction: float | None = None,
    seed: int = 0,
    masks: bool = True,
) -> tuple[CocoPictures, str]:
    """What to evaluate on, with its own classes, and in words what that is: the held-out part, or what
    :func:`gcvit.data.parts.open_one` says.

    masks: as in :func:`open_coco`; an object without one counts as a crowd. Raises UserError as :func:`open_coco`, and
    for a part to train on alone.
    """
    layout = find_coco(root)
    path = layout.parts[layout.held_out or layout.training or WHOLE]
    alone = f"{path} is to train on, and there is none to evaluate on"
    read = _opener(layout, reading, masks)
    pictures, said = open_one(Path(root), layout, read, val_fraction, seed, alone)
    return pictures, said or str(path)


def is_divided(root: str | Path) -> bool:
    """Whether training holds out a share of `root` itself, since there is no held-out part."""
    return find_coco(root).held_out is None


def _opener(layout: Layout, reading: CocoReading, masks: bool) -> Callable[[str], CocoPictures]:
    """What opens a part of a set, by its name. The set's folders are looked through once."""
    passed_over = Remarks()
    files = PictureFiles(layout.root, passed_over)

    def read(name: str) -> CocoPictures:
        path = layout.parts[name]
        file = read_coco(path) if masks else read_coco(path).without_masks()
        places = [files.find(one, name, path) for one in file.names]
        missing = [harmless(one, keep="") for one, place in zip(file.names, places, strict=True) if place is None]
        if len(missing) == len(places):
            pictures = f"{plural(len(missing), 'picture')}, such as {missing[0]},"
            raise UserError(f"{path}: none of its {pictures} is in {layout.root}; put the pictures there")
        remarks = Remarks.joined(layout.remarks, passed_over)
        remarks.notes += remarks_on(file.problems, path)
        if look_like_corners(file.boxes.numpy(), file.sizes.numpy()[file.rows()]):
            remarks.notes.append(f"{path}: {CORNERS}; `gcvit doctor {path} --fix REPAIRED.json` changes them")
        if missing:
            remarks.notes.append(f"{path}: {plural(len(missing), 'picture')} not found, such as {missing[0]}")
        samples = Samples((place, row) for row, place in enumerate(places) if place is not None)
        file = _sized(file, samples, reading, remarks)
        return CocoPictures(file, samples, reading, remarks=remarks)

    return read


def _sized(file: CocoFile, samples: Samples, reading: CocoReading, remarks: Remarks) -> CocoFile:
    """With the sizes of pictures for which the file has none, from the pictures themselves."""
    unknown = [(place, row) for place, row in samples if not file.sizes[row].all()]
    if not unknown:
        return file
    pictures = plural(len(unknown), "picture")
    remarks.notes.append(f"{file.path}: {pictures} without width and height; they are taken from the files")
    sizes = file.sizes.clone()
    for place, row in unknown:
        with suppress(ImageError):  # which whoever reads the picture is told
            head = head_of(place)
            sizes[row] = torch.tensor(head.stored if reading.turned is False else head.upright)
    return replace(file, sizes=sizes)
