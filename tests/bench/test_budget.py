"""Budgets: every part's time is found, floors follow from rates; and where a profile's time is counted."""

import json

import pytest
import torch

from gcvit import create_model
from gcvit.bench import budget
from gcvit.bench.budget import Budget, Line, Rates, as_json, measure_rates, page, run
from gcvit.bench.cost import macs
from gcvit.bench.profiling import KINDS, OTHER, kind_of, where_time_goes
from gcvit.bench.report import write_results
from gcvit.bench.settings import BudgetConfig
from gcvit.bench.work import HEAD, STEM, Place, work

CPU = torch.device("cpu")
BRIEF = BudgetConfig(batch_size=2, size=64, device="cpu", steps=1, threads=1, scale=64)


@pytest.mark.parametrize("folded", [False, True])
def test_every_part_of_the_model_takes_time(folded):
    model = create_model("gcvit_pico", img_size=64).eval()
    model = model.fold() if folded else model
    names = [name for name, _ in model.named_modules()]
    images = torch.zeros(1, 3, 64, 64)
    with torch.inference_mode():
        spent = where_time_goes(model, lambda: model(images), CPU, passes=1)
    parts = {part.place for part in work(create_model("gcvit_pico", img_size=64), (64, 64), 1)}
    assert {place for place, share in spent.by_place.items() if share > 0} >= parts
    assert sum(spent.by_place.values()) == pytest.approx(1)
    assert sum(spent.by_kind.values()) == pytest.approx(1)
    assert {"products", "attention", "convolutions", "norms"} <= set(spent.by_kind)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert names == [name for name, _ in model.named_modules()]


def test_time_is_counted_where_it_is_spent():
    """Large products, planted in a downsampler, make it the longest part."""
    model = create_model("gcvit_pico", img_size=32).eval()
    heavy = torch.randn(1000, 1000)
    model.stages[1].downsample.register_forward_hook(lambda *_: [heavy @ heavy for _ in range(8)] and None)
    with torch.inference_mode():
        spent = where_time_goes(model, lambda: model(torch.zeros(1, 3, 32, 32)), CPU, passes=1)
    assert max(spent.by_place, key=lambda place: spent.by_place[place]) == Place("stage 2", "downsampler")
    assert max(spent.by_kind, key=lambda kind: spent.by_kind[kind]) == "products"


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("gcvit::window_attention", "attention"),
        ("aten::bmm", "attention"),
        ("mkldnn::_linear_pointwise", "products"),
        ("aten::addmm", "products"),
        ("aten::gelu", "GELU"),
        ("aten::native_layer_norm", "norms"),
        ("aten::mkldnn_convolution", "convolutions"),
        ("aten::copy_", "copies"),
        ("aten::max_pool2d_with_indices", "sums, means, pooling"),
        ("aten::view", OTHER),
        ("gcvit/stage 1/attention", OTHER),
    ],
)
def test_kinds(operation, kind):
    assert kind_of(operation) == kind
    assert kind in (*KINDS, OTHER)


def test_rates_are_positive_and_of_the_type():
    rates = measure_rates(CPU, torch.float32, scale=64)
    assert rates.macs_per_second > 0
    assert rates.bytes_per_second > 0


def test_floors_follow_from_the_rates(monkeypatch):
    monkeypatch.setattr(budget, "measure_rates", lambda *_, scale: Rates(1e9, 4e6))
    found = run("gcvit_pico", BRIEF)
    model = create_model("gcvit_pico", img_size=64)
    assert sum(line.macs for line in found.lines) == macs(model, 64, 2)
    parts = {part.place: part for part in work(model, (64, 64), 2)}
    for line in found.lines:
        if line.macs:
            part = parts[line.place]
            assert line.bytes == 4 * part.numbers
            assert line.arithmetic_ms == pytest.approx(part.macs / 1e6)
            assert line.memory_ms == pytest.approx(part.numbers / 1e3)
            assert line.floor_ms == max(line.arithmetic_ms, line.memory_ms)
    assert sum(line.ms for line in found.lines) == pytest.approx(found.ms)
    assert found.floor_ms == sum(line.floor_ms for line in found.lines)
    assert (found.lines[0].place, found.lines[-1].place) == (STEM, HEAD)


def test_bfloat16_moves_half(monkeypatch):
    monkeypatch.setattr(budget, "measure_rates", lambda *_, scale: Rates(1e9, 4e6))
    fp32 = run("gcvit_pico", BRIEF)
    bf16 = run("gcvit_pico:folded", BudgetConfig(2, 64, precision="pure-bf16", device="cpu", steps=1, threads=1))
    assert [2 * line.bytes for line in bf16.lines] == [line.bytes for line in fp32.lines]


def test_what_runs_as_a_whole_has_no_parts_in_time(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model, *, dynamic: model)
    found = run("gcvit_pico:compiled", BRIEF)
    assert found.kinds == {}
    assert all(line.ms is None for line in found.lines)
    assert found.ms > 0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("timm/gcvit_tiny", "take gcvit_tiny"),
        ("timm/resnet18", "take ours"),
        ("gcvit_pico:cudagraph", "CUDA"),
        ("gcvit_picco", "gcvit_pico"),
    ],
)
def test_models_without_a_budget(model, message):
    with pytest.raises(ValueError, match=message):
        run(model, BRIEF)


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 0}, {"size": 31}, {"windows": (0, 7, 7, 7)}, {"steps": 0}, {"threads": 0}, {"scale": 65}],
)
def test_mistakes_in_settings(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        BudgetConfig(**settings)


def test_files_and_tables(tmp_path):
    lines = (
        Line(STEM, 2_000_000_000, 3_000_000, 20.0, 0.3, 40.0),
        Line(Place("stage 1", "windows, sums"), 0, 0, 0.0, 0.0, 5.0),
        Line(HEAD, 1_000_000_000, 4_000_000_000, 10.0, 20.0, 35.0),
    )
    found = Budget("gcvit_pico", Rates(1e11, 2e11), 80.0, lines, {"products": 0.75, OTHER: 0.25})
    shown = page(BRIEF, found)
    parts, kinds = shown.tables
    rows = parts.rows
    assert rows[0] == ["stem", "", "2.00", "3.0", "20.00", "0.30", "40.00", "50%"]
    assert rows[1] == ["stage 1", "windows, sums", "", "", "", "", "5.00", ""]
    assert rows[3] == ["whole", "", "3.00", "4003.0", "30.00", "20.30", "80.00", "50%"]
    assert kinds.rows == [["products", "75.0%", "60.0"], [OTHER, "25.0%", "20.0"]]
    facts = dict(shown.facts)
    assert facts["floors"] == "100 GMAC/s, 200 GB/s"
    paths = write_results(tmp_path / "budget", "budget", as_json(BRIEF, found), shown, ["gcvit", "bench", "budget"])
    assert [path.name for path in paths] == ["budget.json", "budget.md"]
    assert json.loads(paths[0].read_text("utf8")) == json.loads(json.dumps(as_json(BRIEF, found)))
    assert json.loads(paths[0].read_text("utf8"))["budget"]["lines"][1]["place"]["part"] == "windows, sums"
    text = paths[1].read_text("utf8")
    assert "| stem |  | 2.00 |" in text
    assert "    gcvit bench budget\n" in text
