"""Names of classes as a person reads them."""

import re
from functools import cache

from timm.data import ImageNetInfo


def describe(label: str) -> str | None:
    """What an ImageNet folder's name stands for: "n01443537" → "goldfish, Carassius auratus". None for other names."""
    if not re.fullmatch(r"n\d{8}", label):
        return None
    try:
        return _imagenet().label_name_to_description(label)
    except KeyError:  # it only looks like one
        return None


def readable(label: str) -> str:
    """The label, after the first of its English names where it is an ImageNet folder's: "goldfish (n01443537)"."""
    description = describe(label)
    return label if description is None else f"{description.split(',')[0]} ({label})"


def short(label: str, length: int = 16) -> str:
    """At most `length` characters for a picture; of an ImageNet folder's name only what it stands for."""
    description = describe(label)
    label = label if description is None else description.split(",")[0]
    return label if len(label) <= length else label[: length - 1] + "…"


@cache
def _imagenet() -> ImageNetInfo:
    return ImageNetInfo("imagenet-22k")  # the thousand classes of ImageNet-1K are among them
