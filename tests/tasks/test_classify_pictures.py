"""The pictures of an evaluation say what was predicted, show mistakes and stay legible for any number of classes."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from gcvit.data.shapes import ShapesDataset
from gcvit.metrics import Accuracy, Calibration
from gcvit.tasks.classify import Evaluation
from gcvit.tasks.classify.charts import PAIRS, RIGHT, WRONG, draw_confusion, draw_reliability
from gcvit.tasks.classify.pictures import MISTAKES, SAMPLES, draw_predictions

IMAGES = ShapesDataset("val", 60, 32)
TRUTH = torch.arange(60) % 10


def result(truth: torch.Tensor, predicted: torch.Tensor, confidence: torch.Tensor) -> Evaluation:
    """Of the last images of the data set: the first could not be read."""
    accuracy = Accuracy(10)
    accuracy.update(predicted[:, None], truth)
    positions = torch.arange(len(IMAGES) - len(truth), len(IMAGES))
    return Evaluation(accuracy, positions, truth, predicted, confidence, -confidence.log(), [], 1.0)


def captions(predicted: torch.Tensor) -> list[list[tuple[str, str]]]:
    """(caption, colour) of each picture, part by part."""
    confidence = torch.linspace(0.5, 0.99, 60)
    figure = draw_predictions(IMAGES, IMAGES.classes, result(TRUTH, predicted, confidence), title="t")
    return [
        [(axes.get_title(), to_hex(axes.title.get_color())) for axes in part.axes if axes.images]
        for part in figure.subfigs
    ]


def test_all_right() -> None:
    (samples,) = captions(TRUTH)
    assert len(samples) == SAMPLES
    assert {colour for _, colour in samples} == {RIGHT}
    assert {caption.split()[0] for caption, _ in samples} == set(IMAGES.classes)
    assert samples[0] == ("disc 50%", RIGHT)


def test_the_most_confident_mistakes_come_first() -> None:
    predicted = TRUTH.clone()
    predicted[torch.arange(3, 60, 5)] = (TRUTH[torch.arange(3, 60, 5)] + 1) % 10
    _, mistakes = captions(predicted)
    assert len(mistakes) == MISTAKES
    assert mistakes[0] == (f"✗ {IMAGES.classes[9]} 98%\nis {IMAGES.classes[8]}", WRONG)
    shares = [int(caption.split("%")[0].split()[-1]) for caption, _ in mistakes]
    assert shares == sorted(shares, reverse=True)


def test_long_names_are_cut_and_odd_ones_drawn_as_they_are() -> None:
    names = ["Saint_Bernard_of_the_Alps", "a name of sixteen", "exactly_sixteen_", "$10_a$", "\\$x^{$"]
    truth = torch.arange(5)
    figure = draw_predictions(IMAGES, names, result(truth, truth, torch.ones(5)), title="$nonsense{$")
    shown = [axes.get_title().removesuffix(" 100%") for axes in figure.subfigs[0].axes if axes.images]
    assert shown == ["Saint_Bernard_o…", "a name of sixte…", *names[2:]]
    FigureCanvasAgg(figure).draw()


def test_fewer_images_than_cells() -> None:
    two = result(TRUTH[:2], TRUTH[:2].flip(0), torch.tensor([0.6, 0.7]))
    figure = draw_predictions(IMAGES, IMAGES.classes, two, title="t")
    shown = [[axes for axes in part.axes if axes.images] for part in figure.subfigs]
    assert [len(axes) for axes in shown] == [2, 2]
    first = shown[0][0].images[0].get_array()
    assert (first == np.asarray(IMAGES[58][0])).all()  # the picture at its place in the data set


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
