"""Pictures: what is drawn is what was logged, without matplotlib's global state."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

import gcvit
from gcvit.engine.figures import draw_curves, save_figure

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
