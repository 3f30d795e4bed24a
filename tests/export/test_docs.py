"""What docs/export.md tells those to do who have no gcvit is what gcvit does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gcvit.data.augment import eval_transform
from gcvit.tasks.detect.pasting import paste

CODE = "```python\n"
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


def test_masks_are_pasted_as_here() -> None:
    code = next(part for part in PAGE.read_text("utf8").split(CODE) if "def paste" in part).split("```")[0]
    found: dict = {}
    exec(code, found)
    generator = torch.Generator().manual_seed(0)
    ends = torch.rand(40, 2, 2, generator=generator).sort(1).values
    boxes, masks = (ends * 1.4 - 0.2).flatten(1) * 50, torch.rand(40, 28, 28, generator=generator)
    outputs = [x[None].numpy() for x in (boxes, torch.ones(40), torch.arange(40), torch.tensor(30), masks)]
    outputs[0][0, 7, [0, 2]] += 60  # beyond the picture, in its frame
    objects = list(found["objects"](outputs, (41, 57), (50, 50)))
    shown = (boxes[:30, :2] < 50).all(1)
    told = shown.nonzero()[:, 0].tolist()
    assert 20 < len(told) < 30
    assert [label for label, *_ in objects] == told
    assert all((box >= 0).all() and (box <= [57, 41, 57, 41]).all() for _, _, box, _ in objects)
    own = boxes[told] * torch.tensor([57 / 50, 41 / 50, 57 / 50, 41 / 50])
    expected = paste(masks[told], own, (41, 57)).numpy()
    assert expected.any((1, 2)).sum() > 20
    different = np.stack([pixels for *_, pixels in objects]) != expected
    assert different.mean() < 1e-4  # where rounding decides
