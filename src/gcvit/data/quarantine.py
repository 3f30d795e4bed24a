"""Training on although some images cannot be read: others take their places, and a file lists the bad ones."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from torch.utils.data import Dataset

from gcvit.data.images import ImageError
from gcvit.data.sampling import derive_seed
from gcvit.errors import UserError

_ATTEMPTS = 100  # at finding an image in the place of one; with half of them bad one in 10^30 places stays empty


class BadImage(NamedTuple):
    """file: what a person calls it. reason: why it could not be read."""

    file: str
    reason: str


class Replacing(Dataset):
    """`dataset` with items (item, bad images as JSON).

    In the place of an image that cannot be read comes another, a function of its index and of the dataset alone: the
    same whatever process loads it and whenever. The second part lists the images given up for this place; it is
    empty text for nearly all.

    Raises ImageError where no image could be found for a place: nearly all must be bad.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, str]:
        bad: list[BadImage] = []
        candidate = index
        for attempt in range(_ATTEMPTS):
            try:
                item = self.dataset[candidate]
            except ImageError as error:
                file = self.dataset.name(candidate)
                bad.append(BadImage(file, str(error).removeprefix(f"cannot read image {file}: ")))
            else:
                return item, json.dumps(bad) if bad else ""
            candidate = derive_seed(index, attempt) % len(self)
        raise ImageError(
            f"cannot read image {bad[0].file}, nor {_ATTEMPTS - 1} others tried in its place: {bad[0].reason}"
        )


class Quarantine:
    """A file with one line of JSON, {"file": …, "reason": …}, for each bad image, shared by all processes of a run.

    Args:
        path: of the file; what is in it already counts, so a run that goes on does not start from nought.
        images: number of training images.
        share: of them that may be bad, 0 to 1.
    """

    def __init__(self, path: Path, images: int, share: float) -> None:
        self.path, self.images, self.share = path, images, share
        self._listed: set[str] = set()
        self._read = 0  # bytes of the file that are in _listed

    def add(self, image: BadImage) -> None:
        """List the image if it is not listed yet. Raises UserError when there are more bad ones than allowed."""
        if image.file in self._listed:
            return
        import fcntl  # not on Windows, where only training fails for it

        with self.path.open("ab+") as file:
            with suppress(OSError):  # a file system without locks may show one image twice
                fcntl.flock(file, fcntl.LOCK_EX)
            self._catch_up(file)
            if image.file not in self._listed:
                os.write(file.fileno(), json.dumps(image._asdict()).encode() + b"\n")
                self._listed.add(image.file)
        if len(self._listed) > self.share * self.images:
            raise UserError(
                f"{len(self._listed):,} of the {self.images:,} training images cannot be read, more than the share of "
                f"{self.share:g} that max_bad_images allows; the last was {image.file}: {image.reason}. {self.path} "
                "lists them, `gcvit doctor PATH` finds them all; mend or remove them, or raise max_bad_images"
            )

    def add_all(self, texts: Sequence[str]) -> None:
        """List the bad images of a batch, as `Replacing` gives them."""
        for image in (BadImage(*image) for text in texts if text for image in json.loads(text)):
            self.add(image)

    def count(self) -> int:
        """How many images are listed, by all processes."""
        if self.path.exists():
            with self.path.open("rb") as file:
                self._catch_up(file)
        return len(self._listed)

    def _catch_up(self, file: IO[bytes]) -> None:
        """Take in what has been written since."""
        file.seek(self._read)
        for line in file:
            self._read += len(line)
            with suppress(ValueError):  # a line that a full disk has cut off
                self._listed.add(json.loads(line)["file"])
