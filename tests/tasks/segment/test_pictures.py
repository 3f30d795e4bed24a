"""What is drawn shows the classes where they are, in their colours, at any size of the picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcvit.data.label_maps import default_palette
from gcvit.engine.figures import save_figure
from gcvit.tasks.segment import pictures
from gcvit.tasks.segment.pictures import blend, class_shares, draw_sheet, overlay
from tasks.scenes import CLASSES, SIZES, Scenes, evaluate

NAMES = ["$x^{2", "new\nline\x00", "<script>", "很" * 60]
PALETTE = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]


def halves(width: int, height: int) -> np.ndarray:
    labels = np.zeros((height, width), np.int16)
    labels[:, width // 2 :] = 2
    return labels


def near(pixel: tuple[int, ...], colour: tuple[int, int, int], share: float = pictures.OPACITY) -> bool:
    """Whether a pixel is the colour laid over black."""
    return np.abs(np.array(pixel) - share * np.array(colour)).max() < 2


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((64, 64), (640, 640)),
        ((300, 200), (900, 600)),
        ((480, 360), (960, 720)),
        ((1500, 30), (1500, 30)),
        ((4000, 3000), (1600, 1200)),
        ((4000, 2), (1600, 1)),
        ((1, 200), (4, 800)),
        ((1, 1), (640, 640)),
    ],
)
def test_any_size_can_be_looked_at(size: tuple[int, int], shown: tuple[int, int]) -> None:
    drawn = overlay(Image.new("RGB", size), halves(*size), CLASSES, PALETTE)
    assert drawn.width > shown[0]
    assert drawn.height >= shown[1]
    if min(size) > 1 and min(shown) > 10:
        assert near(drawn.getpixel((shown[0] // 4, shown[1] // 2)), PALETTE[0])
        assert near(drawn.getpixel((3 * shown[0] // 4, shown[1] // 2)), PALETTE[2])
        assert drawn.getpixel((shown[0] // 2 - 1, shown[1] // 2)) == (255, 255, 255)  # the line between them
    legend = np.array(drawn)[:, shown[0] :]
    for label in range(4):
        assert (legend == PALETTE[label]).all(2).any() == (label == 2 or (label == 0 and size[0] > 1))


def test_letters_grow_with_the_picture_and_do_not_outgrow_it() -> None:
    widths = []
    for side in (64, 640, 1600):
        drawn = overlay(Image.new("RGB", (side, side)), halves(side, side), CLASSES, PALETTE)
        widths.append(drawn.width - max(side, 640))
    assert widths[0] == widths[1] < widths[2] < 0.4 * 1600


def test_the_legend_sums_up_what_has_no_place() -> None:
    labels = np.repeat(np.arange(150, dtype=np.int16), 10).reshape(30, 50)
    shares = class_shares(labels, 150)
    rows = pictures._legend(shares, [f"class {n}" for n in range(150)], default_palette(150), 20)
    assert len(rows) == 20
    assert rows[-1] == ("and 131 more", "87.3%", None)
    assert len(pictures._legend(shares, ["x"] * 150, default_palette(150), 150)) == 150
    drawn = overlay(Image.new("RGB", (50, 30)), labels, [f"class {n}" for n in range(150)], default_palette(150))
    assert drawn.height < 2 * drawn.width


def test_shares_are_of_what_is_labelled() -> None:
    labels = np.array([[0, 0, 2, -1]], np.int16)
    assert class_shares(labels, 3) == [2 / 3, 0.0, 1 / 3]
    assert class_shares(np.full((2, 2), -1, np.int16), 3) == [0.0] * 3
    assert sum(class_shares(np.random.default_rng(0).integers(0, 9, (50, 70)), 9)) == pytest.approx(1)


def test_pixels_without_class_are_grey_and_a_picture_of_them_has_no_legend() -> None:
    nothing = np.full((40, 50), -1, np.int16)
    drawn = blend(Image.new("RGB", (50, 40)), nothing, PALETTE, (50, 40))
    assert near(drawn.getpixel((20, 20)), (128, 128, 128))
    assert overlay(Image.new("RGB", (50, 40)), nothing, CLASSES, PALETTE).size == (650, 520)


def test_pixels_without_class_look_like_no_class() -> None:
    """Striped, whatever the picture and the palette."""
    labels = np.zeros((60, 60), np.int16)
    labels[:, 30:] = -1
    drawn = np.asarray(blend(Image.new("RGB", (60, 60), "white"), labels, [(128, 128, 128)], (60, 60)))
    white = (drawn == 255).all(2)
    assert not white[:, :29].any()
    assert 0.2 < white[:, 31:].mean() < 0.3
    assert white[:, 31:].any(0).all()


def test_labels_stay_where_they_are_when_made_larger_or_smaller() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (9, 7)).astype(np.int16)
    for height, width in ((9, 7), (27, 21), (3, 7), (100, 10)):
        rows, columns = (pictures._nearest(*lengths) for lengths in ((9, height), (7, width)))
        expected = Image.fromarray(labels.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
        assert (labels[rows][:, columns] == np.array(expected)).all()


def test_names_from_strangers_do_no_harm() -> None:
    overlay(Image.new("RGB", (80, 60)), halves(80, 60), [*NAMES[1:], NAMES[0]], PALETTE)


def test_a_sheet_has_picture_truth_and_prediction_side_by_side(tmp_path: Path) -> None:
    scenes = Scenes(SIZES[:5])
    found = evaluate(scenes)
    images = [(scenes.name(image.position), image) for image in (*found.worst, *found.best)]
    figure = draw_sheet(images, found, title="t")
    texts = [axes.get_title() for axes in figure.axes]
    assert texts[:3] == [images[0][0], "truth", f"prediction: mIoU {images[0][1].miou:.1%}"]
    assert len(texts) == 3 * len(images)
    assert {text.get_text() for text in figure.legends[0].get_texts()} == set(CLASSES)
    for column, maps in ((1, "labels"), (2, "predicted")):
        expected = getattr(found.shown[images[0][1].position], maps).numpy()
        shown = np.asarray(figure.axes[column].get_images()[0].get_array())
        assert shown.shape[1] / shown.shape[0] == pytest.approx(expected.shape[1] / expected.shape[0], rel=0.05)
    save_figure(figure, tmp_path / "sheet.png")
    without = any((found.shown[image.position].labels == -1).any() for _, image in images)
    assert [text.get_text() for text in figure.texts if "striped" in text.get_text()] == ["striped: ignored"] * without
    save_figure(draw_sheet([], found, title="nothing"), tmp_path / "nothing.png")
