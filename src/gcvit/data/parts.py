"""The parts of a set of pictures, whatever the task: which one is trained on, and which one is held out."""

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np
from torch.utils.data import Dataset

from gcvit.data.samples import Samples
from gcvit.data.sampling import some_of
from gcvit.data.settings import RGB8, PixelFormat
from gcvit.data.split_names import WHOLE, is_held_out
from gcvit.errors import UserError

Part = TypeVar("Part")


class PictureSet(Dataset):
    """Pictures of one part with what is said of them.

    Attributes:
        pixels: how pictures are read, see :func:`gcvit.data.images.load_picture`; else they are RGB PIL images.
    """

    pixels: PixelFormat = RGB8

    def with_pixels(self, pixels: PixelFormat) -> Self:
        """The same pictures, read as a model of these pixels takes them."""
        return self._with(pixels=pixels)

    def _with(self, **changes: Any) -> Self:
        """The same but for these attributes."""
        other = copy(self)
        vars(other).update(changes)
        return other


class SampledPictures(PictureSet):
    """Pictures in a list, of which some can be chosen.

    Attributes:
        root: where they come from: a folder, an archive or an annotation file.
        samples: (where the picture is, its number).
    """

    root: Path
    samples: Samples

    def __len__(self) -> int:
        return len(self.samples)

    def name(self, index: int) -> str:
        """What a person calls the picture."""
        return str(self.samples[index][0])

    def subset(self, indices: Iterable[int]) -> Self:
        """The same classes with some of the pictures."""
        return self._with(samples=self.samples[list(indices)])

    def divided(self, val_fraction: float, seed: int) -> tuple[Self, Self]:
        """Those to train on, and the share of them that is held out, chosen by `seed`; at least one picture in each.
        Raises UserError for too few."""
        held_out = self._held_out(val_fraction, seed)
        train = np.setdiff1d(np.arange(len(self)), held_out)
        return self.subset(train), self.subset(np.sort(held_out))

    def _held_out(self, share: float, seed: int) -> np.ndarray:
        if len(self) == 1:
            raise UserError(f"{self.root} holds one picture, too few to train on some and hold out others; add some")
        return some_of(len(self), share, seed)


Pictures = TypeVar("Pictures", bound=SampledPictures)


@dataclass(frozen=True)
class Parts(Generic[Part]):
    """What a set consists of.

    parts: by name, training first, then what is held out as it is preferred; or one with the name WHOLE.
    """

    parts: Mapping[str, Part]

    @property
    def training(self) -> str | None:
        """The part to train on; WHOLE where it is to be divided."""
        return next((name for name in self.parts if not is_held_out(name)), None)

    @property
    def held_out(self) -> str | None:
        """The part to evaluate on."""
        return next(filter(is_held_out, self.parts), None)

    @property
    def others(self) -> list[str]:
        """Parts that are held out and not used."""
        return [name for name in self.parts if is_held_out(name) and name != self.held_out]


def open_both(
    found: Parts[Any], read: Callable[[str], Pictures], val_fraction: float, seed: int
) -> tuple[Pictures, Pictures]:
    """What is trained on, and what is held out: a share of it where there is no part for that.

    found: has a part to train on. val_fraction: that share, above 0, below 1; never none or all. seed: chooses which.
    Raises UserError for a share that is none."""
    _check_share(val_fraction)
    train = read(found.training or WHOLE)
    return (train, read(found.held_out)) if found.held_out else train.divided(val_fraction, seed)


def open_one(
    root: Path,
    found: Parts[Any],
    read: Callable[[str], Pictures],
    val_fraction: float | None,
    seed: int,
    alone: str,
) -> tuple[Pictures, str | None]:
    """What is evaluated on, and in words what that is, None for the part that is held out.

    Without such a part it is, with `val_fraction`, the share that training with the same `val_fraction` and `seed` held
    out, else all. Raises UserError, `alone`, for a part to train on alone: that is training's to divide.
    """
    whole = read(found.held_out or found.training or WHOLE)
    if found.held_out:
        return whole, None
    if val_fraction is not None:
        _check_share(val_fraction)
        _, share = whole.divided(val_fraction, seed)
        return share, f"{root}: what training with val_fraction {val_fraction:g} and seed {seed} held out"
    if found.training != WHOLE:
        raise UserError(
            f"{alone}; add --val-fraction 0.1, or whatever training was given (val_fraction in its train.json), to "
            "evaluate on the share that it held out"
        )
    return whole, f"{root}: all in it, also those that the model was trained on, if it was"


def _check_share(val_fraction: float) -> None:
    if not 0 < val_fraction < 1:
        raise UserError(f"val_fraction must be between 0 and 1, got {val_fraction}")
