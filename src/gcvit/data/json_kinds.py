"""What JSON files are that hold annotations, but not COCO's of objects; and what to do with them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gcvit.data.json_lists import read_lists

LISTS = ("images", "annotations", "categories")  # of COCO's annotation files

_CONVERT = "convert it to COCO's format first"
_LISTS = {  # by the keys of the first element
    ("image_id", "score"): "COCO's results, what a model has found; give the annotations that they are measured by",
    ("image_id", "caption"): "captions; give COCO's annotations of objects (instances_….json)",
    ("image", "annotations"): f"CreateML's; {_CONVERT}",
    ("data", "annotations"): "Label Studio's; export it as COCO",
    ("data", "completions"): "Label Studio's; export it as COCO",
    ("name", "labels"): f"BDD100K's; {_CONVERT}",
}
_OBJECTS = {  # by a key
    "shapes": f"a labelme file, one for each picture; {_CONVERT}",
    "_via_img_metadata": "a VIA project; export its annotations as COCO",
    "labels": f"YOLO's or Label Studio's; {_CONVERT}",
    "frames": f"a file of videos; {_CONVERT}",
}
_ANNOTATIONS = {  # by a key of the first annotation
    "caption": "captions; give the annotations of objects (instances_….json)",
    "segments_info": "panoptic segments, whose masks lie in PNG files; panopticapi converts them to annotations of "
    "objects (panoptic2detection_coco_format.py)",
    "keypoints": "keypoints without boxes; detection learns from annotations that have a bbox",
}


def of_list(first: Any) -> str | None:
    """What a file is that holds a list, which starts so; None for nothing known."""
    keys = set(first) if isinstance(first, dict) else set()
    return next((kind for some, kind in _LISTS.items() if keys.issuperset(some)), None)


def of_keys(keys: Iterable[str]) -> str | None:
    """What a file is whose object has these keys."""
    return next((kind for key, kind in _OBJECTS.items() if key in keys), None)


def of_annotation(first: dict[str, Any]) -> str | None:
    """What annotations are of which none tells of an object; the first of them."""
    return next((kind for key, kind in _ANNOTATIONS.items() if key in first), None)


def of_file(path: Path) -> str | None:
    """What a file is, by its keys up to those that COCO's have. Raises UserError for one that cannot be read."""
    keys: list[str] = []
    for key, _ in read_lists(path):
        if key in LISTS:
            break
        keys.append(key)
    return of_keys(keys)
