"""Pictures: what is drawn is what was logged, without matplotlib's global state."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

import gcvit
from gcvit.engine.figures import draw_curves, draw_each_curve, save_figure

EVENTS = [
    {"event": "start"},
    *({"event": "steps", "step": step, "epoch": 1 + step // 21, "loss": 5 / step} for step in (10, 20, 30, 40)),
    {"event": "evaluation", "epoch": 1, "loss": 0.9, "top1": 0.25, "top5": 0.5, "best": True},
    {"event": "evaluation", "epoch": 2, "loss": 0.7, "top1": 0.75, "top5": 1.0, "best": True},
]


def test_the_curves_are_the_log() -> None:
    loss, score = draw_curves(EVENTS, scores={"top1": "top-1", "top5": "top-5"}, title="a run").axes
    training, held_out = loss.get_lines()
    assert list(training.get_xdata()) == [0.5, 1.0, 1.5, 2.0]
    assert list(training.get_ydata()) == [0.5, 0.25, 5 / 30, 0.125]
    assert (list(held_out.get_xdata()), list(held_out.get_ydata())) == ([1, 2], [0.9, 0.7])
    assert [list(line.get_ydata()) for line in score.get_lines()] == [[0.25, 0.75], [0.5, 1.0]]
    assert [text.get_text() for text in score.get_legend().get_texts()] == ["top-1", "top-5"]
    assert [text.get_text() for text in score.texts] == ["best: 75.0%, epoch 2"]


def test_the_parts_of_a_loss_are_drawn_below_their_sum() -> None:
    parts = [event | {"loss_near": 0.25, "loss_far": event["loss"] - 0.25} for event in EVENTS[1:5]]  # type: ignore[operator]
    loss, _ = draw_curves([*EVENTS[:1], *parts, *EVENTS[5:]], scores={"top1": "top-1"}, title="a run").axes
    training, near, far, held_out = loss.get_lines()
    assert list(near.get_ydata()) == [0.25] * 4
    assert [a + b for a, b in zip(near.get_ydata(), far.get_ydata(), strict=True)] == list(training.get_ydata())
    assert list(held_out.get_ydata()) == [0.9, 0.7]
    names = [text.get_text() for text in loss.get_legend().get_texts()]
    assert names == ["training (augmented)", "its part near", "its part far", "held-out"]


@pytest.mark.parametrize("missing", ["absent", None])
def test_what_an_evaluation_does_not_say_is_not_drawn(tmp_path: Path, missing: str | None) -> None:
    """A held-out loss, or a score that rests on images of a kind that are not there."""
    events = [dict(event) for event in EVENTS]
    for event in events[5:]:
        if missing is None:
            event |= {"loss": None}
        else:
            del event["loss"]
    events[5]["top5"] = None
    figure = draw_curves(events, scores={"top1": "top-1", "top5": "top-5"}, title="a run")
    loss, score = figure.axes
    assert len(loss.get_lines()) == 1
    assert str([float(value) for value in score.get_lines()[1].get_ydata()]) == "[nan, 1.0]"
    save_figure(figure, tmp_path / "curves.png", dpi=50)


def test_a_single_point_is_seen() -> None:
    for some, marker in ((EVENTS[1:2], "."), (EVENTS[1:3], "")):
        loss, _ = draw_curves(some, scores={"top1": "top-1"}, title="a run").axes
        assert [line.get_marker() for line in loss.get_lines()] == [marker]


def test_a_run_that_ended_in_its_first_steps_has_curves(tmp_path: Path) -> None:
    for events in (EVENTS[:1], EVENTS[:2], EVENTS[5:]):
        save_figure(draw_curves(events, scores={"top1": "top-1"}, title="a run"), tmp_path / "curves.png", dpi=50)


def curve(values: list[float]) -> list[dict]:
    """A log whose score takes these values, and whose loss is one less them."""
    return [
        {"event": "evaluation", "epoch": epoch, "loss": 1 - value, "top1": value, "best": True}
        for epoch, value in enumerate(values, start=1)
    ]


@pytest.mark.parametrize("values", [[0.96, 0.97, 0.99], [0.5], [1.0, 1.0], [0.0], [0.001, 0.002], [0.1, 0.9, 0.8]])
def test_the_axes_fit_what_is_drawn(values: list[float]) -> None:
    """What changes takes most of the height, and a single evaluation is a point to be seen."""
    together = draw_curves(curve(values), scores={"top1": "top-1"}, title="a run").axes
    each = draw_each_curve(curve(values), scores={"top1": "top-1"})
    assert [len(figure.axes) for figure in each] == [1, 1]
    for axes in (*together, *(figure.axes[0] for figure in each)):
        low, high = axes.get_ylim()
        shown = axes.get_lines()[-1].get_ydata()
        assert low < min(shown)
        assert max(shown) < high
        assert high - low < max(1.3 * (max(values) - min(values)), 0.011)
        assert axes.get_lines()[-1].get_marker() == "o"
        assert axes.get_xlim()[1] > len(values)


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    save_figure(draw_curves(EVENTS, scores={"top1": "top-1"}, title="a run"), path, dpi=50)
    with Image.open(path) as picture:
        assert picture.size == (500, 200)
    before = path.read_bytes()
    broken = Figure()
    broken.text(0, 0, "$nonsense{$")
    with pytest.raises(ValueError, match="nonsense"):
        save_figure(broken, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_title_is_drawn_as_it_is(tmp_path: Path) -> None:
    figure = draw_curves(EVENTS, scores={"top1": "top-1"}, title="gcvit_nano on $nonsense{$")
    save_figure(figure, tmp_path / "curves.png", dpi=50)


def test_no_module_draws_through_pyplots_global_state() -> None:
    sources = list(Path(gcvit.__file__).parent.rglob("*.py"))
    assert len(sources) > 20
    assert [source for source in sources if "pyplot" in source.read_text(encoding="utf-8")] == []
