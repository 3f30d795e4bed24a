"""The sheet of sample predictions says what was predicted and shows mistakes."""

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from gcvit.data.shapes import ShapesDataset
from gcvit.tasks.classify.evaluation import ClassifyEvaluation
from gcvit.tasks.classify.pictures import MISTAKES, SAMPLES, draw_predictions, surest
from gcvit.tasks.confusion import RIGHT, WRONG
from tasks.evaluations import classified

IMAGES = ShapesDataset("val", 60, 32)
TRUTH = torch.arange(60) % 10


def result(
    truth: torch.Tensor, predicted: torch.Tensor, confidence: torch.Tensor, classes: list[str] = IMAGES.classes
) -> ClassifyEvaluation:
    """Of the last images of the data set: the first could not be read."""
    positions = torch.arange(len(IMAGES) - len(truth), len(IMAGES))
    return classified(truth, predicted, confidence, pictures=IMAGES, classes=classes, positions=positions)


def captions(predicted: torch.Tensor) -> list[list[tuple[str, str]]]:
    """(caption, colour) of each picture, part by part."""
    confidence = torch.linspace(0.5, 0.99, 60)
    figure = draw_predictions(result(TRUTH, predicted, confidence), title="t")
    return [
        [(axes.get_title(), to_hex(axes.title.get_color())) for axes in part.axes if axes.images]
        for part in figure.subfigs
    ]


def test_all_right() -> None:
    (samples,) = captions(TRUTH)
    assert len(samples) == SAMPLES
    assert {colour for _, colour in samples} == {RIGHT}
    assert {caption.split()[0] for caption, _ in samples} == set(IMAGES.classes)
    assert samples[0] == ("disc 50.0%", RIGHT)


def test_the_most_confident_mistakes_come_first() -> None:
    predicted = TRUTH.clone()
    predicted[torch.arange(3, 60, 5)] = (TRUTH[torch.arange(3, 60, 5)] + 1) % 10
    _, mistakes = captions(predicted)
    assert len(mistakes) == MISTAKES
    assert mistakes[0] == (f"✗ {IMAGES.classes[9]} 98.2%\nis {IMAGES.classes[8]}", WRONG)
    shares = [float(caption.split("%")[0].split()[-1]) for caption, _ in mistakes]
    assert shares == sorted(shares, reverse=True)


def test_long_names_are_cut_and_odd_ones_drawn_as_they_are() -> None:
    names = ["Saint_Bernard_of_the_Alps", "a name of sixteen", "exactly_sixteen_", "$10_a$", "\\$x^{$"]
    truth = torch.arange(5)
    figure = draw_predictions(result(truth, truth, torch.ones(5), names), title="$nonsense{$")
    shown = [axes.get_title().removesuffix(" 100.0%") for axes in figure.subfigs[0].axes if axes.images]
    assert shown == ["Saint_Bernard_o…", "a name of sixte…", *names[2:]]
    FigureCanvasAgg(figure).draw()


def test_the_surest_right_answers_are_of_several_classes() -> None:
    """Class 3 is surest, then 1; 2 is wrong twice of three times."""
    truth = torch.tensor([3, 3, 3, 3, 1, 1, 2, 2, 2, 0])
    predicted = torch.tensor([3, 3, 3, 3, 1, 1, 2, 0, 1, 0])
    confidence = torch.tensor([0.99, 0.98, 0.97, 0.96, 0.9, 0.8, 0.5, 0.7, 0.95, 0.4])
    found = result(truth, predicted, confidence)
    assert surest(found, 6, right=True) == [0, 4, 6, 9, 1, 5]
    assert surest(found, 100, right=True) == [0, 4, 6, 9, 1, 5, 2, 3]
    assert surest(found, 3, right=True) == [0, 4, 6]
    assert surest(found, 9, right=False) == [8, 7]
    assert surest(result(truth, truth, confidence), 9, right=False) == []


def test_fewer_images_than_cells() -> None:
    two = result(TRUTH[:2], TRUTH[:2].flip(0), torch.tensor([0.6, 0.7]))
    figure = draw_predictions(two, title="t")
    shown = [[axes for axes in part.axes if axes.images] for part in figure.subfigs]
    assert [len(axes) for axes in shown] == [2, 2]
    first = shown[0][0].images[0].get_array()
    assert (first == np.asarray(IMAGES[58][0])).all()  # the picture at its place in the data set
