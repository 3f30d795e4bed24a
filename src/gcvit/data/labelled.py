"""Images with labels, wherever they lie: what training and evaluation read."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from gcvit.data.images import load_image
from gcvit.data.samples import Samples, Source


class LabelledImages(Dataset):
    """Images with one class each; item i is (RGB PIL image, label).

    Raises ValueError for a class whose name is no valid text. Reading a damaged image raises
    :class:`gcvit.data.images.ImageError`, which names the file.

    Attributes:
        root: where they come from: a folder or an archive.
        classes: names by label.
        samples: (where the image is, label), sorted by class, then path.
    """

    def __init__(self, root: Path, classes: Sequence[str], samples: Iterable[tuple[Source, int]]):
        self.root, self.classes = root, list(classes)
        for name in self.classes:
            if name != name.encode("utf-8", "replace").decode():  # a checkpoint and a page could not hold it
                raise ValueError(f"{root}: the class {name!r} is no valid text (UTF-8); rename its folder")
        self.samples = samples if isinstance(samples, Samples) else Samples(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        source, label = self.samples[index]
        return load_image(source), label

    def label(self, index: int) -> int:
        return int(self.samples.labels[index])

    def name(self, index: int) -> str:
        """What a person calls the image."""
        return str(self.samples[index][0])

    def counts(self) -> list[int]:
        """Images per class, by label."""
        return np.bincount(self.samples.labels, minlength=len(self.classes)).tolist()

    def subset(self, indices: Iterable[int]) -> "LabelledImages":
        """The same classes with some of the samples."""
        return LabelledImages(self.root, self.classes, self.samples[list(indices)])

    def checked(self) -> "LabelledImages":
        """These images, if a classifier can learn from them.

        Raises ValueError for a class without images, and for fewer than two classes.
        """
        if len(self.classes) == 1:
            raise ValueError(
                f"{self.root}: only one class, {self.classes[0]!r}; a classifier needs at least two folders"
            )
        empty = [name for name, count in zip(self.classes, self.counts(), strict=True) if not count]
        if empty:
            raise ValueError(f"{self.root}: no images in class {listed(empty)}; add some, or remove the folder")
        return self

    def with_classes(self, classes: Sequence[str]) -> "LabelledImages":
        """The same images with labels that count `classes`, such as those of the training data.

        Raises ValueError if the two have not the same classes.
        """
        extra, missing = sorted(set(self.classes) - set(classes)), sorted(set(classes) - set(self.classes))
        if extra or missing:
            differences = [f"only here: {listed(extra)}"] if extra else []
            differences += [f"missing here: {listed(missing)}"] if missing else []
            raise ValueError(
                f"{self.root}: its class folders are not the expected {len(classes)} classes; {'; '.join(differences)}"
            )
        place = {name: label for label, name in enumerate(classes)}
        return LabelledImages(self.root, classes, self.samples.relabelled([place[name] for name in self.classes]))


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first five of them."""
    shown = ", ".join(repr(name) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
