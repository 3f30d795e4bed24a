"""The charts of an evaluation are legible for any number of classes, whatever these are called."""

from pathlib import Path

import pytest
import torch

from gcvit.engine.figures import save_figure
from gcvit.metrics import SegmentationCounts
from gcvit.tasks.segment.charts import BARS, draw_confusion, draw_ious, most_confused

NAMES = ["$x^{2", "new\nline\x00", "<script>", "很" * 60]


def counts_of(classes: int) -> SegmentationCounts:
    labels = torch.arange(classes * 40).reshape(classes, 40) // 40
    predicted = torch.where(torch.rand(classes, 40, generator=torch.Generator().manual_seed(0)) < 0.2, 0, labels)
    counts = SegmentationCounts(classes)
    counts.update(predicted, labels)
    return counts


@pytest.mark.parametrize("classes", [1, 2, 11, 25, 26, 150])
def test_charts_of_few_and_of_many_classes(tmp_path: Path, classes: int) -> None:
    counts, names = counts_of(classes), [f"class {label}" for label in range(classes)]
    figure = draw_ious(counts, names, title="t")
    bars = figure.axes[0].patches
    assert len(bars) == min(classes, BARS)
    widths = [bar.get_width() for bar in bars]
    assert widths == sorted(widths, reverse=True)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()][-1] in names
    save_figure(figure, tmp_path / "ious.png")
    save_figure(draw_confusion(counts, names, title="t"), tmp_path / "confusion.png")


def test_the_table_is_in_per_cent_of_the_truth() -> None:
    counts = SegmentationCounts(3)
    counts.confusion += torch.tensor([[30, 10, 0], [0, 0, 0], [1, 0, 1]])
    figure = draw_confusion(counts, ["a", "b", "c"], title="t")
    assert [text.get_text() for text in figure.axes[0].texts] == ["75", "25", "50", "50"]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a (95.2%)", "b (0.0%)", "c (4.8%)"]
    assert most_confused(counts, 5) == [(0, 1, 10), (2, 0, 1)]


def test_names_from_strangers_do_no_harm(tmp_path: Path) -> None:
    labels = torch.arange(80).repeat(60, 1) // 40 * 2
    counts = SegmentationCounts(4)
    counts.update(labels, labels.roll(9, 1))
    for number, figure in enumerate((draw_ious(counts, NAMES, title="$"), draw_confusion(counts, NAMES, title="$"))):
        save_figure(figure, tmp_path / f"{number}.png")
