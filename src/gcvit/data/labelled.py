"""Images with labels, wherever they lie: what training and evaluation read."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from gcvit.data.class_names import check_names
from gcvit.data.images import load_picture
from gcvit.data.parts import SampledPictures
from gcvit.data.pixels import Picture
from gcvit.data.remarks import Remarks
from gcvit.data.samples import Samples, Source
from gcvit.data.sampling import some_of
from gcvit.errors import UserError
from gcvit.wording import composed, listed


class LabelledImages(SampledPictures):
    """Images with one class each; item i is (picture, label), an RGB PIL image or what `pixels` says.

    Raises UserError for a class whose name is no harmless text, and for two names that are the same in Unicode's
    composed form, in which they are kept. Reading a damaged image raises :class:`gcvit.data.images.ImageError`, which
    names the file.

    Attributes:
        classes: names by label.
        samples: (where the image is, label), sorted by class, then path.
        remarks: what was passed over there.
    """

    def __init__(
        self,
        root: Path,
        classes: Sequence[str],
        samples: Iterable[tuple[Source, int]],
        remarks: Remarks | None = None,
    ):
        self.root, self.classes = root, list(map(composed, classes))
        check_names(f"{root}: the class", "rename its folder", classes)
        self.samples = samples if isinstance(samples, Samples) else Samples(samples)
        self.remarks = remarks or Remarks()

    def __getitem__(self, index: int) -> tuple[Picture, int]:
        source, label = self.samples[index]
        return load_picture(source, self.pixels), label

    def label(self, index: int) -> int:
        return int(self.samples.labels[index])

    def counts(self) -> list[int]:
        """Images per class, by label."""
        return np.bincount(self.samples.labels, minlength=len(self.classes)).tolist()

    def _held_out(self, share: float, seed: int) -> np.ndarray:
        """The share of every class."""
        counts = self.counts()
        if 1 in counts:
            raise UserError(
                f"{self.root / self.classes[counts.index(1)]} holds one image, too few to train on some and hold "
                "out others; add images, or give the data its own val/ folder"
            )
        firsts = np.cumsum([0, *counts])  # they are sorted by class
        return np.concatenate([firsts[i] + some_of(count, share, seed, i) for i, count in enumerate(counts)])

    def checked(self) -> "LabelledImages":
        """These images, if a classifier can learn from them.

        Raises UserError for a class without images, and for fewer than two classes.
        """
        if len(self.classes) == 1:
            raise UserError(
                f"{self.root}: only one class, {self.classes[0]!r}; a classifier needs at least two folders"
            )
        empty = [name for name, count in zip(self.classes, self.counts(), strict=True) if not count]
        if empty:
            names = listed(empty, show=repr)
            others = f". Files that are not read: {self.remarks.kinds()}" if self.remarks.passed_over else ""
            raise UserError(f"{self.root}: no images in class {names}; add some, or remove the folder{others}")
        return self

    def with_classes(self, classes: Sequence[str]) -> "LabelledImages":
        """The same images with labels that count `classes`, such as those of the training data.

        Raises UserError if the two have not the same classes.
        """
        classes = list(map(composed, classes))
        extra, missing = sorted(set(self.classes) - set(classes)), sorted(set(classes) - set(self.classes))
        if extra or missing:
            differences = [f"only here: {listed(extra, show=repr)}"] if extra else []
            differences += [f"missing here: {listed(missing, show=repr)}"] if missing else []
            raise UserError(
                f"{self.root}: its class folders are not the expected {len(classes)} classes; {'; '.join(differences)}"
            )
        place = {name: label for label, name in enumerate(classes)}
        samples = self.samples.relabelled([place[name] for name in self.classes])
        return self._with(classes=classes, samples=samples)
