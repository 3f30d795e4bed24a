"""Pictures and their label files: which of them belong together, by their names."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gcvit.data.images import find_images
from gcvit.data.remarks import Remarks
from gcvit.errors import UserError
from gcvit.wording import composed, harmless, listed

LABEL_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff"})

# What label files' names, and pictures', may end with although it is no part of the name.
_OF_LABELS = r"(?:masks?|labels?|label_?ids|label_?train_?ids|gt|gt_?fine|gt_?coarse|ground_?truths?|seg|segm|segs|"
_OF_LABELS += r"segmentations?|ann|anns|anno|annotations?|target|l)"
_OF_PICTURES = r"(?:images?|imgs?|pictures?|pics?|photos?|rgb|sat|left_?img_?8_?bit)"


class Pair(NamedTuple):
    """A picture and the file with its labels."""

    picture: Path
    labels: Path


@dataclass(frozen=True)
class Part:
    """What is in one folder of pictures and one of label files, sorted by name.

    without_labels, without_picture: files whose partner is missing. doubles: files of the same name but for the
    suffix, or but for the form of Unicode, of which it is unknown which one is meant. remarks: other files in the two
    folders, and which endings of names were taken off.
    """

    pictures: Path
    labels: Path
    pairs: list[Pair]
    without_labels: list[Path]
    without_picture: list[Path]
    doubles: list[Path]
    remarks: Remarks = field(default_factory=Remarks)

    def checked(self) -> list[Pair]:
        """The pairs. Raises UserError for none, pictures without labels, and doubles; labels alone do no harm."""
        if self.doubles:
            raise UserError(f"{self.doubles[0].parent}: the same name twice, {_listed(self.doubles)}; remove one")
        if mismatch := self.mismatch:
            raise UserError(f"{self.labels}: {mismatch}")
        if self.without_labels:
            raise UserError(
                f"{self.labels}: no label file ({', '.join(sorted(LABEL_SUFFIXES))}) for "
                f"{_listed(self.without_labels)}; add them with the pictures' names, or move these pictures away"
            )
        if not self.pairs:
            raise UserError(f"{self.pictures}: no pictures in it")
        return self.pairs

    @property
    def mismatch(self) -> str | None:
        """Why no picture at all has a label file although there are both, and what would help; or None."""
        if self.pairs or not (self.without_labels and self.without_picture):
            return None
        return (
            f"no label file has a picture's name. The pictures are called {_listed(self.without_labels)}, the label "
            f"files {_listed(self.without_picture)}: give them the same names but for the suffix; all label files may "
            "have one ending more, such as _mask"
        )


def pair(pictures: Path, labels: Path) -> Part:
    """The pictures and the label files in two folders, by their paths in them without suffix.

    Where no path is that of both, they are compared without what all label files' names end with, such as _mask or
    _labelIds, and what all pictures' names do. Forms of Unicode make no difference.
    """
    doubles: list[Path] = []
    remarks = Remarks()
    seen = _by_name(pictures, lambda file: True, doubles, remarks)
    labelled = _by_name(labels, lambda file: file.suffix.lower() in LABEL_SUFFIXES, doubles, remarks)
    if not seen.keys() & labelled.keys():
        seen, labelled = _without_endings(seen, labelled, labels, remarks)
    return Part(
        pictures,
        labels,
        pairs=[Pair(seen[name], labelled[name]) for name in seen if name in labelled],
        without_labels=[file for name, file in seen.items() if name not in labelled],
        without_picture=[file for name, file in labelled.items() if name not in seen],
        doubles=doubles,
        remarks=remarks,
    )


def _by_name(folder: Path, wanted: Callable[[Path], bool], doubles: list[Path], remarks: Remarks) -> dict[str, Path]:
    """Files by their path in the folder without suffix, sorted; of two with one name, the second goes to `doubles`."""
    found: dict[str, Path] = {}
    for file in find_images(folder, remarks):
        if not wanted(file):
            remarks.pass_over(file)
            continue
        name = composed(str(file.relative_to(folder).with_suffix("")))
        if name in found:
            doubles += [found[name], file]
        else:
            found[name] = file
    return found


def _without_endings(
    seen: dict[str, Path], labelled: dict[str, Path], folder: Path, remarks: Remarks
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Both by such names that most of them agree, or as they are."""
    of_labels, of_pictures = _ending([*labelled], _OF_LABELS), _ending([*seen], _OF_PICTURES)
    for one, other in (("", of_labels), (of_pictures, of_labels), (of_pictures, "")):
        shorter = _shortened(seen, one), _shortened(labelled, other)
        if shorter[0].keys() & shorter[1].keys():
            endings = " and ".join(f"{ending!r}" for ending in (one, other) if ending)
            remarks.notes.append(f"{folder}: names are compared without {endings}, with which all of them end")
            return shorter
    return seen, labelled


def _ending(names: Sequence[str], words: str) -> str:
    """What all names end with, if it is made of the words."""
    for start in re.finditer(r"[_\-. ]+", names[0] if names else ""):
        ending = names[0][start.start() :]
        made_of = re.fullmatch(rf"(?:[_\-. ]+{words})+", ending, re.IGNORECASE)
        if made_of and all(name.endswith(ending) for name in names):
            return ending
    return ""


def _shortened(files: dict[str, Path], ending: str) -> dict[str, Path]:
    return {name.removesuffix(ending): file for name, file in files.items()}


def _listed(files: Sequence[Path]) -> str:
    return listed(files, show=lambda file: harmless(file.name, keep=""))
