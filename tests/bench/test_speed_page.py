"""What a comparison leaves behind: table, JSON, Markdown and picture."""

import json

import pytest
import torch
from matplotlib.image import imread

from gcvit.bench.report import digits
from gcvit.bench.settings import SpeedConfig
from gcvit.bench.speed import Row
from gcvit.bench.speed_page import as_json, draw, page, table, write

A, B = "timm/test_vit", "gcvit_pico:folded"
CONFIG = SpeedConfig((A, B), batch_sizes=(1, 8), device="cpu", threads=1, size="64x96", rounds=3)


def row(model, batch, ms, **others):
    found = {"peak_memory": None, "joules_per_image": None, "difference": None, "percentiles_ms": (ms, None, None)}
    found |= {"turns_ms": (ms, ms, ms), "quartiles_ms": (0.9 * ms, 1.2 * ms), "steps": 3, "parameters": 1, "macs": 1}
    return Row(model, batch, median_ms=ms, images_per_second=batch * 1e3 / ms, speedup=10 / ms,
               paired_speedup=10 / ms, **(found | others))  # fmt: skip


ROWS = [row(A, 1, 10.0), row(B, 1, 4.0), row(A, 8, 70.0), row(B, 8, 35.0, difference=2e-7)]


def test_columns_that_say_nothing_are_left_out():
    headings, cells = table(ROWS[:2])
    assert headings == [">batch", "model", ">ms", ">p50", ">images/s", ">×", ">paired"]
    assert cells[1] == ["1", B, "4.00", "4.00", "250", "2.50", "2.50"]
    full = row(A, 1, 5.0, peak_memory=2**30, joules_per_image=0.1234, difference=1e-3, percentiles_ms=(5, 6, 7))
    headings, cells = table([full])
    assert headings[3:6] == [">p50", ">p90", ">p99"]
    assert cells[0][-3:] == ["1024", "0.123", "1e-03"]


def test_json_is_whole():
    found = json.loads(json.dumps(as_json(CONFIG, ROWS)))
    assert found["rows"][1]["turns_ms"] == [4, 4, 4]
    assert found["settings"]["models"] == [A, B]
    assert found["machine"]["threads"] == "1"
    assert torch.__version__.split("+")[0] in found["machine"]["software"]


def test_markdown_has_machine_and_command():
    text = page(CONFIG, ROWS).markdown(["gcvit", "bench", "speed", "--models", A, B])
    assert "# Speed: inference at 64×96 px, fp32, 3 turns each" in text
    assert "| 8 | gcvit_pico:folded | 35.0 |" in text
    assert "- processor: " in text
    assert f"    gcvit bench speed --models {A} {B}\n" in text


def test_the_picture_shows_every_model_of_every_batch_size():
    panels = draw(CONFIG, ROWS).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["batch 1", "batch 8"]
    assert [bar.get_width() for bar in panels[1].patches] == pytest.approx([8e3 / 70, 8e3 / 35])
    assert [text.get_text() for text in panels[0].get_yticklabels()] == [A, B]
    theirs, ours = (bar.get_facecolor() for bar in panels[0].patches)
    assert theirs != ours


def test_files(tmp_path):
    paths = write(tmp_path / "new" / "folder", CONFIG, ROWS, ["gcvit"])
    assert [path.name for path in paths] == ["results.json", "results.md", "speed.png"]
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(path.name for path in paths)
    assert imread(paths[2]).shape[0] > 100


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1234"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123"), (None, "")],
)
def test_digits(value, text):
    assert digits(value) == text
