"""Small sets in COCO's format, for tests."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def annotation(ident: Any, image: Any, category: Any = 1, bbox: Any = (4, 6, 20, 10), **more: Any) -> dict[str, Any]:
    """One whose mask is its box, unless `more` says other things; None leaves a field out."""
    x, y, w, h = bbox if isinstance(bbox, tuple | list) and len(bbox) == 4 else (4, 6, 20, 10)
    try:
        polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
        area = w * h
    except TypeError:
        polygon, area = [4, 6, 24, 6, 24, 16, 4, 16], 200
    found = {"id": ident, "image_id": image, "category_id": category, "bbox": bbox, "segmentation": [polygon]}
    found |= {"area": area, "iscrowd": 0} | more
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in found.items() if value is not None
    }


def content(count: int = 2, annotations: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    """A file's content: pictures 1.png … of 48×64 pixels, numbered from 1, and the classes cat (1) and dog (2)."""
    rows = [{"id": i, "file_name": f"{i}.png", "height": 48, "width": 64} for i in range(1, count + 1)]
    if annotations is None:
        annotations = [annotation(i, i, 1 + i % 2) for i in range(1, count + 1)]
    found = {"images": rows, "annotations": annotations}
    return found | {"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]} | more


def write(file: Path, found: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(found if isinstance(found, str) else json.dumps(found))
    return file


def picture(file: Path, size: tuple[int, int] = (48, 64), seed: int | None = None, orientation: int = 1) -> Path:
    """A picture of noise, (height, width), another one for each name; orientation: as EXIF says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(sum(map(ord, str(file))) if seed is None else seed)
    image = Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(file, exif=exif)
    return file
