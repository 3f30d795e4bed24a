"""What a model can be asked about a picture: what speaks for this class, or for this object?"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from gcvit.errors import UserError


class Target(NamedTuple):
    """One thing that a model says of a picture, as a number that gradients flow from.

    name: what a person calls it. confidence: 0 to 1, by which targets are sorted: a class's probability, its share of
    the pixels, an object's score. score: makes the number, a scalar; the larger, the more the model says so. box: left,
    top, right, lower edge in pixels of the image that the model sees, where the target is an object.
    """

    name: str
    confidence: float
    score: Callable[[], Tensor]
    box: tuple[float, float, float, float] | None = None

    @property
    def said(self) -> str:
        """Name and confidence, for a person."""
        return f"{self.name} {self.confidence:.0%}"


class NothingFound(UserError):
    """A picture in which a model finds nothing that could be asked about."""


def find_target(targets: list[Target], wanted: str | int | None) -> int:
    """The number of a target: the first of a name, the given number itself, or 0, the likeliest, for None.

    Raises NothingFound where there are none at all, and UserError where this is none, with some that there are.
    """
    if not targets:
        raise NothingFound("the model finds nothing in this picture that could be explained")
    if wanted is None:
        return 0
    names = [target.name for target in targets]
    if isinstance(wanted, str) and wanted in names:
        return names.index(wanted)
    if isinstance(wanted, int) and 0 <= wanted < len(targets):
        return wanted
    some = ", ".join(dict.fromkeys(names[:8]))
    raise UserError(f"there is no {wanted!r} to explain in this picture; the likeliest are: {some}")
