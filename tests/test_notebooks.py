"""The notebooks in examples/: every cell runs, and each is saved as it was run."""

import base64
import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from notebooks import run

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {"epochs": 1, "train_images": 160}  # of every notebook


def pictures(notebook: dict) -> list[Image.Image]:
    shown = [output.get("data", {}) for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return [Image.open(BytesIO(base64.b64decode(data["image/png"]))) for data in shown if "image/png" in data]


def printed(notebook: dict) -> str:
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return "".join("".join(output["text"]) for output in outputs if output.get("name") == "stdout")


def test_every_cell_of_the_quickstart_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(EXAMPLES / "quickstart.ipynb", SMALL | {"val_images": 20})
    assert len(pictures(done)) == 3
    assert (tmp_path / "runs/shapes/report.html").is_file()
    assert len(list((tmp_path / "exported").glob("*.pt2"))) == 1


def test_every_cell_of_the_explanation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(EXAMPLES / "explain.ipynb", SMALL | {"scenes": 2})
    assert len(pictures(done)) == 5
    assert "element-wise Grad-CAM" in printed(done)
    assert "the map of stage 3" in printed(done)


@pytest.mark.parametrize("name", ["quickstart", "explain"])
def test_it_is_saved_with_what_it_shows(name: str) -> None:
    file = EXAMPLES / f"{name}.ipynb"
    saved = json.loads(file.read_text("utf8"))
    assert (saved["nbformat"], saved["nbformat_minor"]) == (4, 5)
    code = [cell for cell in saved["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert len({cell["id"] for cell in saved["cells"]}) == len(saved["cells"])
    assert all(max(picture.size) <= 1200 for picture in pictures(saved))
    assert file.stat().st_size < 500_000
    assert str(Path.home()) not in file.read_text("utf8")
