"""The notebook examples/quickstart.ipynb: every cell runs, and it is saved as it was run."""

import base64
import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from notebooks import run

NOTEBOOK = Path(__file__).parents[1] / "examples" / "quickstart.ipynb"
SMALL = {"epochs": 1, "train_images": 64, "val_images": 20}


def pictures(notebook: dict) -> list[Image.Image]:
    shown = [output.get("data", {}) for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return [Image.open(BytesIO(base64.b64decode(data["image/png"]))) for data in shown if "image/png" in data]


def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(NOTEBOOK, SMALL)
    assert len(pictures(done)) == 3
    assert (tmp_path / "runs/shapes/report.html").is_file()
    assert len(list((tmp_path / "exported").glob("*.pt2"))) == 1


def test_it_is_saved_with_what_it_shows() -> None:
    saved = json.loads(NOTEBOOK.read_text("utf8"))
    assert (saved["nbformat"], saved["nbformat_minor"]) == (4, 5)
    code = [cell for cell in saved["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert len({cell["id"] for cell in saved["cells"]}) == len(saved["cells"])
    assert all(max(picture.size) <= 1200 for picture in pictures(saved))
    assert NOTEBOOK.stat().st_size < 500_000
    assert str(Path.home()) not in NOTEBOOK.read_text("utf8")
