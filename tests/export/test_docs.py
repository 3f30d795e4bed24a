"""What docs/export.md tells those to do who have no gcvit is what gcvit does."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcvit.data.augment import eval_transform

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


@pytest.mark.parametrize("crop_pct", [0.875, 1.0])
@pytest.mark.parametrize("size", [(97, 61), (61, 97), (64, 64), (301, 200)])
def test_pictures_become_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], crop_pct: float
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.jpg")
    about = {"preprocessing": {"crop_pct": crop_pct, "mean": MEAN, "std": STD}, "size": (64, 64)}
    Path("FILE.onnx.json").write_text(json.dumps(about))
    code = PAGE.read_text("utf8").split("```python\n")[1].split("```")[0]
    found: dict = {}
    exec(code, found)
    with Image.open("photo.jpg") as picture:
        expected = eval_transform(size=64, crop_pct=crop_pct, mean=MEAN, std=STD)(picture.convert("RGB"))
    np.testing.assert_allclose(found["images"][0], expected.numpy(), atol=1e-6)
