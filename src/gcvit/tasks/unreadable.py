"""Images that cannot be read, in an evaluation."""

from typing import Literal, NamedTuple

BadImages = Literal["error", "skip"]


class Unreadable(NamedTuple):
    """An image that was left out. position: in the dataset. reason: why it could not be read."""

    position: int
    file: str
    reason: str
