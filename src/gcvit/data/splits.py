"""Which images a person's folder or archive holds, and which of them are for training and which are held out."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from gcvit.data import imagenet
from gcvit.data.folders import ArchiveFolder, DiskFolder, Folder, Names
from gcvit.data.labelled import LabelledImages
from gcvit.data.members import Contents
from gcvit.data.parts import Parts
from gcvit.data.remarks import Remarks
from gcvit.data.samples import Samples, Source
from gcvit.data.split_names import TRAIN, WHOLE, Role, held_out_below, is_held_out, preference, split_name, splits_among
from gcvit.data.tar_index import index_path
from gcvit.data.tars import contents_of
from gcvit.distributed import is_main
from gcvit.errors import UserError
from gcvit.shell import typed
from gcvit.wording import composed, harmless, listed, plural

Place = TypeVar("Place", bound=Folder)


Reader = Callable[[], LabelledImages]


class IndexNote(UserWarning):
    """Archives whose headers must be read because their index is missing, out of date or damaged."""


@dataclass(frozen=True)
class Splits(Parts[Reader]):
    """What a set of images consists of, read where it is needed; the names are those of folders.

    remarks: counts what lies beside. archives: that the images lie in.
    """

    remarks: Callable[[], Remarks] = Remarks
    archives: Sequence[Path] = ()


@dataclass
class Arrangement(Generic[Place]):
    """splits: folders with class folders in them, by name and as preferred; or one with the name WHOLE.

    above: folders that lead to them. aside: folders beside them. notes: how names were understood, in sentences.
    """

    splits: dict[str, Place]
    above: list[Place] = field(default_factory=list)
    aside: list[Place] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def remarks(self) -> Remarks:
        """The notes, and what lies above and beside the splits; that is counted now."""
        found = Remarks()
        found.notes += self.notes
        for folder in self.above:
            found.pass_over_loose(folder.loose(found), folder, "in no class's folder")
        for folder in self.aside:
            if images := sum(1 for _ in folder.images(found)):
                found.notes.append(
                    f"{folder}: {plural(images, 'image')} passed over, beside {_slashed([*self.splits])}"
                )
        return found


def find_splits(root: str | os.PathLike[str]) -> Splits:
    """What there is in `root`, not yet read where reading can wait.

    In this order: ROOT/train and ROOT/val (and what else :mod:`gcvit.data.split_names` knows) with class folders, where
    ImageNet's val may be flat; tar archives in ROOT, or ROOT as one, for train and what else they hold; class folders
    in ROOT itself. One folder above all of this does not matter.

    Raises UserError for a folder or archive that holds no images in class folders, or that may be meant in two ways.
    """
    root = Path(root)
    archives = find_archives(root)
    if archives == [root]:
        return _packed(root, archives)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    if imagenet.is_flat_validation(root):
        return Splits({WHOLE: partial(imagenet.read_flat_validation, root)})
    own = {file.name for archive in archives for file in (archive, index_path(archive))}
    folders = arrange(DiskFolder(imagenet.image_folder(root), own | imagenet.own_files(root)))
    if archives and all(name == WHOLE or is_held_out(name) for name in folders.splits):
        return _beside(root, folders, _packed(root, archives))
    if archives:
        training = next(iter(folders.splits))
        names = listed([archive.name for archive in archives])
        folders.notes.append(f"{root}: passed over, since there is {training}/ to train on: {names}")
    return Splits(_readers(folders.splits), folders.remarks)


def find_archives(root: Path) -> list[Path]:
    """The tar files in `root`, or `root` itself if it is a file; sorted, hidden ones left out."""
    if root.is_dir():
        return sorted(
            file
            for file in root.iterdir()
            if file.suffix.lower() == ".tar" and not file.name.startswith(".") and file.is_file()
        )
    return [root] if root.is_file() else []


def _packed(root: Path, archives: Sequence[Path]) -> Splits:
    """The images in tar archives by split; classes are the folders in them, the same as if they were unpacked.

    The split is the folder train/ or val/ above the classes' folders, or the word in the archive's name.

    Raises UserError for archives without images in folders, for one of no split while others have one, and for
    whatever :func:`gcvit.data.tars.scan` refuses.
    """
    named: dict[str, list[tuple[Path, Contents]]] = {}
    troubles = []
    for archive in archives:
        contents, trouble = contents_of(archive)
        troubles += [trouble] if trouble else []
        named.setdefault(_word(archive.stem), []).append((archive, contents))
    if troubles and is_main():
        others = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
        command = typed(["gcvit", "data", "index", root])
        text = f"{troubles[0]}{others}, so all headers are read each time; `{command}` changes that"
        warnings.warn(IndexNote(text), stacklevel=2)
    found: dict[str, list[ArchiveFolder]] = {}
    arranged = []
    for word, some in named.items():
        arranged.append(folders := arrange(ArchiveFolder.of_archives(root, some)))
        mine = set[str]()
        for name, folder in folders.splits.items():
            if name != WHOLE and is_held_out(word) and not is_held_out(name):
                raise UserError(f"{some[0][0]}: {name}/ in an archive of held-out images; rename one of them")
            if folder.folders():
                name = word if name == WHOLE else name
                # What other archives call alike is the same split; val/ beside Val/ are two.
                same = (one for one in found if _word(one) == _word(name) and one not in mine)
                mine.add(name := next(same, name))
                found.setdefault(name, []).append(folder)
            else:
                folders.above.append(folder)
    if not found:
        raise UserError(f"{root}: no images in class folders; expected CLASS/image.jpg, below train/ and val/ or not")
    if WHOLE in found and len(found) > 1:
        stray = found[WHOLE][0].members[0][1]
        raise UserError(
            f"{stray.archive}: {stray.name} is neither for training nor held out; put train, val or test in the "
            "archive's name, or give one archive alone"
        )
    joined = {name: ArchiveFolder.joined(found[name]) for name in sorted(found, key=preference)}
    return Splits(_readers(joined), lambda: Remarks.joined(*(one.remarks() for one in arranged)), archives)


def _beside(root: Path, folders: Arrangement[DiskFolder], packed: Splits) -> Splits:
    """Archives, and what is held out in folders beside them."""
    held_out = {name: folder for name, folder in folders.splits.items() if name != WHOLE}
    some = packed.archives[0].name
    if held_out and WHOLE in packed.parts:
        raise UserError(
            f"{root} has {next(iter(held_out))}/ beside {some}, whose name tells neither train nor val; "
            "rename the archive, or give it alone"
        )
    if twice := [name for name in held_out if _word(name) in map(_word, packed.parts)]:
        raise UserError(f"{root}: both {twice[0]}/ and an archive of that name hold images; keep one of them")
    if whole := folders.splits.get(WHOLE):
        others = whole.folders()
        with_images = [one.name for one in others if one.holds_images()] if WHOLE in packed.parts else []
        if with_images:
            raise UserError(f"{root}: {with_images[0]}/ and {some} both hold images; give one of them alone")
        folders = Arrangement(dict.fromkeys(packed.parts, whole), [*folders.above, whole], others)
    readers = _readers(held_out) | {**packed.parts}
    ordered = {name: readers[name] for name in sorted(readers, key=preference)}
    return Splits(ordered, lambda: Remarks.joined(folders.remarks(), packed.remarks()), packed.archives)


def _readers(splits: Mapping[str, Folder]) -> dict[str, Reader]:
    return {name: partial(_read_split, name, folder) for name, folder in splits.items()}


def _word(name: str) -> str:
    """The split that an archive's name tells, such as train for cifar10-train-000."""
    said = split_name(name)
    return WHOLE if said is None else TRAIN if said.role == TRAIN else said.word


def _read_split(name: str, folder: Folder) -> LabelledImages:
    """The images of a split, or of all. Raises UserError where another split lies in it."""
    if isinstance(folder, DiskFolder) and imagenet.is_flat_validation(folder.path):
        return imagenet.read_flat_validation(folder.path)
    inside = arrange(folder)
    ((inner, folder),) = [*inside.splits.items()][:1]
    if inner != WHOLE and (len(inside.splits) > 1 or is_held_out(inner) != is_held_out(name)):
        names = _slashed([*inside.splits])
        raise UserError(f"{folder}: {names} in {name}/, although both look like splits; keep one of the two levels")
    images = _read_classes(folder)
    images.remarks.add(inside.remarks())
    return images


def _read_classes(folder: Folder) -> LabelledImages:
    classes = sorted((one.name for one in folder.folders()), key=composed)
    if not classes:
        raise UserError(f"{folder}: no class folders in it; put the images in one folder per class")
    remarks, inside, loose = Remarks(), set[Names](), list[str]()

    def labelled() -> Iterator[tuple[Source, int]]:
        label = {name: label for label, name in enumerate(classes)}
        for folders, source in folder.images(remarks):
            if folders:
                inside.add(folders)
                yield source, label[folders[0]]
            else:
                loose.append(str(source))

    samples = Samples(labelled()).relabelled(range(len(classes)))
    remarks.pass_over_loose(loose, folder, "in no class's folder")
    if found := held_out_below(inside, depth=1):
        raise UserError(
            f"{folder}: {'/'.join(found)}/ looks like held-out images within a class; move it above the classes, as "
            f"{found[-1]}/{'/'.join(found[:-1])}/, or rename it"
        )
    return LabelledImages(folder.place, classes, samples, remarks)


def arrange(top: Place) -> Arrangement[Place]:
    """What the folders in `top` are. A folder that lies alone leads to what is in it.

    Raises UserError for folders that may be meant in two ways: one that looks like a split beside those that look like
    classes, two for training, a split without class folders.
    """
    *above, folder = _alone(top)
    # What lies below a held-out folder stays held out.
    plain = [one.name for one in (*above[1:], folder) if folder is not top and splits_among([one.name])]
    name = next(filter(is_held_out, plain), plain[-1] if plain else WHOLE)
    inside = folder.folders()
    roles = splits_among([one.name for one in inside])
    by_name = {one.name: one for one in inside}
    splits = {one: by_name[one] for one in roles if _holds_classes(by_name[one])}
    if not _are_splits(folder, splits, roles, inside):
        looks = [one.name for one in inside if split_name(one.name)]
        note = f"{folder}: read as classes, although their names are those of splits: {_slashed(looks)}"
        return Arrangement({name: folder}, above, notes=[note] if looks else [])
    if is_held_out(name) and any(role == TRAIN for role in roles.values()):
        raise UserError(f"{folder}: {_slashed([*splits])} in a folder of held-out images; move them out of it")
    _check(splits, roles, by_name)
    aside = [one for one in inside if one.name not in splits]
    return Arrangement(splits, [*above, folder], aside)


def _are_splits(folder: Place, splits: dict[str, Place], roles: dict[str, Role], inside: Sequence[Place]) -> bool:
    """Whether the folders that look like splits are, and not classes among others. Raises UserError for both."""
    sides = {roles[name] == TRAIN for name in splits}
    beside = [one for one in inside if one.name not in roles] if len(sides) < 2 else []
    beside = [one for one in beside if one.holds_images()]
    if splits and not beside:
        return True
    if splits:
        classes = [{one.name for one in _alone(split)[-1].folders()} for split in splits.values()]
        if max(map(len, classes)) == 1 and not set().union(*classes) & {one.name for one in beside}:
            return False  # a split with one class would be of no use
        others = _slashed([one.name for one in beside])
        raise UserError(
            f"{folder}: {_slashed([*splits])} has class folders as a split has, and beside it lies {others}. If it is "
            f"a split, move {others} into a split too, or away; if it is a class, rename it"
        )
    if roles and not beside:
        flat = next(one for one in inside if one.name == next(iter(roles)))
        raise UserError(f"{flat}: no class folders in it; put the images in one folder per class")
    return False


def _check(splits: dict[str, Place], roles: dict[str, Role], inside: dict[str, Place]) -> None:
    """Raise UserError for splits that cannot be used together."""
    training = [name for name in splits if roles[name] == TRAIN]
    if len(training) > 1:
        raise UserError(
            f"{splits[training[0]]}: {_slashed(training)} all look like the training images; keep one of them, or put "
            "their classes together"
        )
    if training == [*splits]:
        for name in (name for name, role in roles.items() if role == "val" and name not in splits):
            if inside[name].loose(others := Remarks()) or not others.passed_over:  # with other files alone it is none
                raise UserError(f"{inside[name]}: no class folders in it; put the images in one folder per class")


def _alone(folder: Place) -> list[Place]:
    """The folder, and those that each are all that is in the one before and hold folders themselves."""
    chain = [folder]
    while len(inside := chain[-1].folders()) == 1 and inside[0].folders():
        chain += inside
    return chain


def _holds_classes(folder: Folder) -> bool:
    return bool(folder.folders()) or (isinstance(folder, DiskFolder) and imagenet.is_flat_validation(folder.path))


def _slashed(names: Sequence[str]) -> str:
    return listed([harmless(f"{name}/", keep="") for name in names])
