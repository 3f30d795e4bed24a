"""Pictures to predict, and the files that are left of them."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: str, width: int = 64, height: int = 64) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def results(out: str) -> set[str]:
    return {str(path.relative_to(out)) for path in Path(out).rglob("*") if path.is_file()}


def three(*names: str, kind: str = "png") -> set[str]:
    return {f"{name}{end}" for name in names for end in (f".overlay.{kind}", ".labels.png", ".json")}
