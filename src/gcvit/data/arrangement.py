"""How splits and classes are arranged in folders: which of the folders are which."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gcvit.data.folders import DiskFolder, Folder
from gcvit.data.imagenet import is_flat_validation
from gcvit.data.remarks import Remarks
from gcvit.data.split_names import TRAIN, WHOLE, Role, is_held_out, split_name, splits_among
from gcvit.errors import UserError
from gcvit.wording import harmless, listed, plural

Place = TypeVar("Place", bound=Folder)


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
    return bool(folder.folders()) or (isinstance(folder, DiskFolder) and is_flat_validation(folder.path))


def _slashed(names: Sequence[str]) -> str:
    return listed([harmless(f"{name}/", keep="") for name in names])
