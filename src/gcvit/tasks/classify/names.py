"""Names of classes as a person reads them."""

import re
from functools import cache

from timm.data import ImageNetInfo

from gcvit.tasks.pictures import shortened
from gcvit.weights.catalogue import CatalogueEntry

IMAGENET = 1000  # classes of ImageNet-1K


def class_names(labels: list[str] | None, outputs: int, entry: CatalogueEntry | None) -> list[str] | None:
    """The classes by output: the checkpoint's labels, or ImageNet's folder names for published weights (`entry`), which
    carry none. None where nobody knows."""
    if labels is None and entry is not None and outputs == IMAGENET:
        return ImageNetInfo("imagenet-1k").label_names()
    return labels


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
    return shortened(label if description is None else description.split(",")[0], length)


@cache
def _imagenet() -> ImageNetInfo:
    return ImageNetInfo("imagenet-22k")  # the thousand classes of ImageNet-1K are among them
