"""The sheet of predictions says what was predicted, and shows mistakes."""

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from gcvit.data.shapes import ShapesDataset
from gcvit.tasks.classify.pictures import MISTAKES, RIGHT, SAMPLES, WRONG, draw_predictions

IMAGES = ShapesDataset("val", 60, 32)
TRUTH = torch.arange(60) % 10


def captions(predicted: torch.Tensor) -> list[list[tuple[str, str]]]:
    """(caption, colour) of each picture, part by part."""
    confidence = torch.linspace(0.5, 0.99, 60)
    figure = draw_predictions(IMAGES, IMAGES.classes, TRUTH, predicted, confidence, title="t")
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
    figure = draw_predictions(IMAGES, names, truth, truth, torch.ones(5), title="$nonsense{$")
    shown = [axes.get_title().removesuffix(" 100%") for axes in figure.subfigs[0].axes if axes.images]
    assert shown == ["Saint_Bernard_o…", "a name of sixte…", *names[2:]]
    FigureCanvasAgg(figure).draw()


def test_fewer_images_than_cells() -> None:
    figure = draw_predictions(IMAGES, IMAGES.classes, TRUTH[:2], TRUTH[:2].flip(0), torch.tensor([0.6, 0.7]), title="t")
    assert [len([axes for axes in part.axes if axes.images]) for part in figure.subfigs] == [2, 2]
