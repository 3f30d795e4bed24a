"""Appendix F and Figure 1: formulas meet counts, growth is named rightly, fronts are fronts, pictures are drawn."""

import ctypes
import json
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from gcvit.bench import complexity, peak, tradeoff
from gcvit.bench.complexity import Growth, StageCost, stage_costs
from gcvit.bench.complexity_page import draw, ticks
from gcvit.bench.cost import macs
from gcvit.bench.peak import Measuring, Spent
from gcvit.bench.published import table_1
from gcvit.bench.settings import ComplexityConfig
from gcvit.bench.tradeoff import COSTS, Point, front
from gcvit.bench.tradeoff import draw as draw_points
from gcvit.cli import bench_budget, bench_complexity, bench_figure1, bench_speed
from gcvit.engine.figures import save_figure
from gcvit.errors import UserError

Command = Callable[[Sequence[str]], None]
SIZES = (112, 224, 448, 672)


def of(power: float, *, name: str = "a model") -> Growth:
    """One whose cost is a power of the pixels."""
    return Growth(name, SIZES, tuple(int((s * s) ** power) for s in SIZES))


@cache
def few_costs() -> list[StageCost]:
    """For where they do not matter."""
    return stage_costs(ComplexityConfig("gcvit_pico", (64, 65, 66)))


def test_equation_7_by_kind_is_what_is_counted() -> None:
    """To the multiply-add, padding and all; as printed it is too much wherever a stage has a global block."""
    costs = stage_costs(ComplexityConfig("gcvit_pico", (160, 64, 100, 64)))
    assert [cost.size for cost in costs[::4]] == [64, 100, 160]  # of four stages each
    for cost in costs:
        assert cost.by_kind == cost.counted, cost
        assert cost.equation_7 > cost.counted


def test_growth_of_what_is_linear_and_what_is_not() -> None:
    linear, quadratic = of(1), of(2)
    assert (linear.exponent, quadratic.exponent) == (pytest.approx(1), pytest.approx(2))
    assert linear.line[0] == pytest.approx(1)
    assert abs(linear.residual) < 1e-6
    assert abs(quadratic.residual) > 0.1
    assert of(1).fitted == [False, True, True, True]
    assert Growth("few", (100, 200, 300), (1, 2, 3)).elsewhere is None
    padded = Growth("padded", SIZES, (2 * 112**2, *(s * s for s in SIZES[1:])))
    assert padded.elsewhere == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("sizes", "line"),
    [
        ((64, 96, 128), "that fits all sizes best, for there are no two multiples of 224 px"),
        ((112, 224, 300), "that fits all sizes best, for there are no two multiples of 224 px"),
        ((112, 224, 448), "through the two multiples of 224 px"),
        ((112, 224, 448, 672), "that fits multiples of 224 px best"),
    ],
)
def test_the_line_is_what_it_is_said_to_be(
    sizes: tuple[int, ...], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    padded = Growth("padded", sizes, tuple(s * s if s % 224 == 0 else 2 * s * s for s in sizes))
    monkeypatch.setattr(complexity, "growths", lambda settings, say: [padded])
    monkeypatch.setattr(complexity, "stage_costs", lambda settings: few_costs())
    bench_complexity.run(["--model", "gcvit_pico", "--sizes", *map(str, sizes)])
    shown = capsys.readouterr().out
    assert f"of the line {line};\noff the line" in shown
    assert "-0.0%" not in shown
    assert (padded.elsewhere == pytest.approx(0.5)) if "all sizes" not in line else padded.elsewhere is None


def test_models_of_the_comparison_are_those() -> None:
    with torch.device("meta"):
        kinds = [type(complexity.build(name, "gcvit_pico", 64)).__name__ for name in complexity.NAMES]
    assert kinds == ["GCViT", "GCViT", "SwinTransformer", "VisionTransformer"]


def test_a_model_without_three_sizes_of_whole_patches_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complexity, "macs", lambda model, size: 7 * size**2)
    for sizes, models in (((100, 132, 148), 3), ((100, 130, 150), 2)):
        found = complexity.growths(ComplexityConfig("gcvit_pico", sizes), lambda text: None)
        assert [growth.name for growth in found] == [
            title.format(model="gcvit_pico") for title in list(complexity.NAMES.values())[:models]
        ]


def test_models_are_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for windows that grow; and none is counted otherwise than one that is built for its size."""
    build, built = complexity.build, []
    monkeypatch.setattr(complexity, "build", lambda name, *how: built.append(name) or build(name, *how))
    *others, vit = complexity.growths(ComplexityConfig("gcvit_pico", (64, 96, 128)), lambda text: None)
    assert built == ["gcvit", *["gcvit, growing windows"] * 3, "swin_tiny", "vit_small"]
    assert [growth.sizes for growth in others] == [(64, 96, 128)] * 3
    with torch.device("meta"):
        assert vit.macs[1] == macs(timm.create_model("vit_small_patch16_224", img_size=96), 96)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    spent = tuple(Spent(size, size / 10, size * 1000) for size in SIZES[:2])
    growths = [Growth(g.name, g.sizes, g.macs, spent) for g in (of(1, name="ours"), of(1.4, name="ViT"))]
    monkeypatch.setattr(complexity, "growths", lambda settings, say: growths)
    bench_complexity.run(["--model", "gcvit_pico", "--sizes", "64", "96", "128", "--out", str(tmp_path / "out")])
    shown = capsys.readouterr().out
    assert "the count differs in 0 of" in shown
    assert "/out/complexity.json" in shown
    assert "1.40" in shown
    content = json.loads((tmp_path / "out" / "complexity.json").read_text())
    assert [g["exponent"] for g in content["growth"]] == pytest.approx([1, 1.4], abs=1e-4)
    assert (tmp_path / "out" / "complexity.png").stat().st_size < 300_000
    assert "<svg" in (tmp_path / "out" / "complexity.svg").read_text()
    for wrong, said in ((["64", "64", "64"], "sizes must be at least three"), (["8", "64", "128"], "sizes must be")):
        with pytest.raises(UserError, match=said):
            bench_complexity.run(["--sizes", *wrong])
    with pytest.raises(UserError, match="no model is called 'gcvit_tinny'"):
        bench_complexity.run(["--model", "gcvit_tinny"])


def test_without_measurements_there_is_one_panel() -> None:
    assert len(draw([of(1)]).axes) == 1
    assert len(draw([Growth("a", SIZES, SIZES, (Spent(112, 1.0, None),))]).axes) == 3


def test_axes_have_names() -> None:
    assert ticks(ComplexityConfig().sizes) == [112, 224, 448, 896, 1792]
    assert ticks((32, 64, 96)) == [32, 64, 96]
    spent = tuple(Spent(size, size, size * 3 * 10**5) for size in SIZES)
    for panel in draw([Growth("a", SIZES, SIZES, spent)]).axes[1:]:  # which span less than a power of ten
        low, high = panel.get_ylim()
        assert sum(low <= place <= high for place in panel.get_yticks()) >= 2


def tiny(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU())


def test_time_and_memory_rise_with_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last size holds at least its own output; in this process, where what it held before may hide the first."""
    found = peak._measure(tiny, (64,), [32, 512], Measuring(steps=1))
    assert [spent.size for spent in found] == [32, 512]
    assert all(spent.milliseconds > 0 for spent in found)
    assert found[1].peak_bytes is None or found[1].peak_bytes > 64 * 500 * 500 * 4
    monkeypatch.setattr(peak, "STATUS", Path("/nowhere"))
    assert peak._measure(tiny, (4,), [32], Measuring(steps=1))[0].peak_bytes is None


def not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "REFERENCES", Path("/nowhere/clear_refs"))


def without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())


@pytest.mark.parametrize("system", [not_allowed, without_glibc])
def test_where_a_peak_is_not_forgotten_none_is_told(
    system: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What making the model took would be told, or too little, where what is free stays the process's."""
    system(monkeypatch)
    assert peak._measure(tiny, (4,), [32], Measuring(steps=1))[0].peak_bytes is None
    assert peak.beyond(lambda: None, torch.device("cpu")) is None


def test_a_front_is_of_those_that_nothing_beats() -> None:
    points = [
        Point(str(top1), top1, {COSTS[0]: cost, COSTS[2]: 100 / cost}) for top1, cost in ((80, 4), (79, 5), (82, 9))
    ]
    points += [Point("dear", 82, {COSTS[0]: 12, COSTS[2]: 100 / 12}), Point("unknown", 99, {})]
    assert [p.method for p in front(points, COSTS[0])] == ["80", "82"]
    assert [p.method for p in front(points, COSTS[2])] == ["80", "82"]


def test_figure_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    quick = [line for line in table_1() if line.method in ("GC ViT-XXT", "Swin-T", "CSwin-T", "T2T-ViT-14")]
    monkeypatch.setattr(tradeoff, "table_1", lambda: iter(quick))
    monkeypatch.setattr(tradeoff, "measure", lambda *_: [Spent(224, 50.0, 10**8)])
    monkeypatch.chdir(tmp_path)
    bench_figure1.run(["--measure", "--batch-size", "2"])
    shown = capsys.readouterr().out
    assert "written: figure1/figure1.json\nwritten: figure1/figure1.png" in shown
    assert re.search(r"CSwin-T.* 4\.3†\*? .* 23\.0†", shown)
    assert "CoAtNet-2 is left out" in shown
    content = json.loads(Path("figure1/figure1.json").read_text())
    costs = {point["method"]: point["costs"] for point in content["points"]}
    assert costs["CSwin-T"] == {COSTS[0]: 4.3, COSTS[1]: 23}  # not at hand: as published
    assert costs["GC ViT-XXT"][COSTS[0]] == pytest.approx(2.1208, abs=1e-3)
    assert costs["Swin-T"][COSTS[2]] == pytest.approx(40)
    assert Path("figure1/figure1.png").stat().st_size < 300_000
    families = [Point(line.method, 80, {}).family for line in quick]
    assert set(families) == {"GC ViT", "others", "Swin", "CSwin"}
    for costs, height in ((1, 3.0), (4, 5.1)):
        figure = draw_points([Point("GC ViT-T", 83, dict.fromkeys(COSTS[:costs], 4.7))])
        assert (len(figure.axes), round(figure.get_figheight(), 1)) == (costs, height)
    with pytest.raises(UserError, match="--batch-size must be at least 1"):
        bench_figure1.run(["--batch-size", "0"])


def test_one_figure_is_one_file(tmp_path: Path) -> None:
    for kind in ("svg", "png"):
        paths = [tmp_path / str(number) / f"figure.{kind}" for number in range(2)]
        for path in paths:
            path.parent.mkdir(exist_ok=True)
            save_figure(draw([of(1)]), path)
        assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("run", [bench_complexity.run, bench_figure1.run, bench_speed.run, bench_budget.run])
@pytest.mark.parametrize("out", ["file", "file/under", "/proc/nothing"])
def test_a_folder_that_cannot_be_is_said_before_anything_is_counted(
    run: Command, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(UserError, match=f"^(file is a file; give the name|{out}: no results can be written there)"):
        run(["--device", "cpu", "--out", out])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("run", [bench_complexity.run, bench_figure1.run])
@pytest.mark.parametrize(("device", "said"), [("cuda:99", "has 0 CUDA devices"), ("tpu", "must be auto, cpu, cuda")])
def test_a_device_that_is_not_here_is_said(
    run: Command, device: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match=said):
        run(["--device", device])


def test_a_gpus_memory_is_that_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    second, sizes = torch.device("cuda:1"), {torch.device("cuda:1"): 7}
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device=None: sizes.get(device, 0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: 2 * sizes.get(device, 0))
    assert (peak.held(second), peak.held(second, at_most=True)) == (7, 14)
