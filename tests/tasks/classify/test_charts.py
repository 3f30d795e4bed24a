"""The charts of an evaluation show what is taken for what, and stay legible for any number of classes."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from gcvit.metrics import Calibration
from gcvit.tasks.classify.charts import PAIRS, draw_confusion, draw_reliability
from gcvit.tasks.confusion import luminance


def answers(classes: int, images: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels, and predictions of which an eleventh is the next class, once or twice in each."""
    labels = torch.arange(images) % classes
    wrong = torch.arange(images) % 11 == 0
    return labels, torch.where(wrong, (labels + 1) % classes, labels)


def test_up_to_25_classes_every_cell_has_its_number() -> None:
    labels = torch.tensor([0, 0, 0, 0, 2, 2])
    predicted = torch.tensor([0, 0, 0, 2, 2, 2])
    (axes,) = draw_confusion(labels, predicted, ["a", "unused", "$c{$"], title="$t{$").axes
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "75", (1, 0): "25", (1, 1): "100"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a (4)", "$c{$ (2)"]


@pytest.mark.parametrize("classes", [2, 10, 25])
def test_the_digits_stand_out_from_their_cells(classes: int) -> None:
    """By WCAG's measure of contrast, of which 4.5 is asked of texts."""
    labels = torch.arange(classes).repeat_interleave(100)
    predicted = (labels + torch.arange(100).repeat(classes) // (3 + labels)) % classes  # shares of all sizes
    (axes,) = draw_confusion(labels, predicted, [f"class {label}" for label in range(classes)], title="t").axes
    grounds = np.asarray(axes.images[0].get_array())
    assert len(axes.texts) > classes
    for text in axes.texts:
        column, row = text.get_position()
        light = sorted(luminance(np.array(colour)) for colour in (grounds[row, column], to_rgb(text.get_color())))
        assert (light[1] + 0.05) / (light[0] + 0.05) > 4.5
    right = grounds.diagonal().T
    assert (right[:, 2] >= right[:, 0]).all(), "what is right is on blue ground"


@pytest.mark.parametrize("classes", [26, 1000])
def test_more_classes_are_a_heat_map_and_the_most_confused_pairs(classes: int) -> None:
    labels, predicted = answers(classes, 20 * classes)
    predicted[labels == 3] = 5
    figure = draw_confusion(labels, predicted, [f"class {label}" for label in range(classes)], title="t")
    heat, pairs, _ = figure.axes
    assert pairs.get_yticklabels()[0].get_text() == "class 3 → class 5"
    assert pairs.texts[0].get_text().strip() == "20, 100% of the class"
    assert len(pairs.patches) == PAIRS
    assert heat.images[0].get_array().shape[0] <= 250
    FigureCanvasAgg(figure).draw()


@pytest.mark.parametrize(("classes", "images"), [(1, 1), (2, 1), (25, 300), (40, 40)])
def test_any_number_of_classes_and_images_can_be_drawn(classes: int, images: int) -> None:
    labels, predicted = answers(classes, images)
    names = [f"${label}{{$" for label in range(classes)]
    FigureCanvasAgg(draw_confusion(labels, predicted, names, title="t")).draw()
    FigureCanvasAgg(draw_confusion(labels, labels, names, title="t")).draw()
    FigureCanvasAgg(draw_reliability(Calibration(torch.ones(images), labels == predicted), title="t")).draw()


def test_the_reliability_diagram_shows_the_bins() -> None:
    confidence = torch.tensor([0.5, 0.5, 0.95, 0.97])
    figure = draw_reliability(Calibration(confidence, torch.tensor([True, False, True, True])), title="t")
    shares, images = ([bar.get_height() for bar in axes.patches] for axes in figure.axes)
    assert shares == [0.5, 1.0]
    assert [height for height in images if height] == [2, 2]
