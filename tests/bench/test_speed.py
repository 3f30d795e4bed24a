"""Timing: whole runs on small models, and the arithmetic on a clock of our own."""

from dataclasses import replace

import pytest
import torch

from gcvit.bench import detectors, peak, speed, timing
from gcvit.bench.contenders import PEERS
from gcvit.bench.forms import Conditions
from gcvit.bench.report import machine
from gcvit.bench.settings import SpeedConfig
from gcvit.bench.speed import Prepared, contenders_of, run
from gcvit.tasks.detect.settings import HeadConfig

BRIEF = {"size": 64, "batch_sizes": (2,), "rounds": 2, "turn_seconds": 0.01, "device": "cpu", "threads": 1}
CPU = torch.device("cpu")
A, B = "gcvit_pico", "gcvit_pico:channels_last"


class Clock:
    """Stands for `perf_counter`; steps of known length move it, and are noted."""

    def __init__(self, milliseconds):
        self.now, self.milliseconds, self.calls = 0.0, milliseconds, []

    def __call__(self):
        return self.now

    def prepare(self, contender, model, batch_size, config, conditions, twins):
        def step():
            self.calls.append(str(contender))
            self.now += next(self.milliseconds[str(contender)]) / 1e3

        return Prepared(step, None, None)


def always(value):
    while True:
        yield value


def timed(monkeypatch, lengths, **settings):
    clock = Clock(lengths)
    monkeypatch.setattr(timing, "perf_counter", clock)
    monkeypatch.setattr(speed, "_prepare", clock.prepare)
    config = SpeedConfig(tuple(lengths), **(BRIEF | {"same_weights": False} | settings))
    return run(config), clock.calls


@pytest.mark.parametrize(("mode", "precision"), [("inference", "fp32"), ("inference", "bf16"), ("train", "fp32")])
def test_small_models_run(mode, precision):
    threads = torch.get_num_threads()
    said = []
    ours = "gcvit_pico:channels_last" if mode == "train" else "gcvit_pico:folded"
    config = SpeedConfig(("timm/test_vit", "gcvit_pico", ours), mode=mode, precision=precision, **BRIEF)
    rows = run(config, said.append)
    assert [row.model for row in rows] == ["timm/test_vit", "gcvit_pico", ours]
    assert torch.get_num_threads() == threads
    assert said
    for row in rows:
        assert len(row.turns_ms) == 2
        assert 0 < min(row.turns_ms) <= row.quartiles_ms[0] <= row.median_ms <= row.quartiles_ms[1]
        assert row.images_per_second == pytest.approx(2e3 / row.median_ms)
        assert row.speedup == pytest.approx(rows[0].median_ms / row.median_ms)
        assert row.peak_memory is None or row.peak_memory > 4 * row.parameters
        assert row.macs > 0
        assert row.parameters > 0
    assert rows[0].speedup == rows[0].paired_speedup == 1
    assert [row.difference is None for row in rows] == [True, True, False]
    assert rows[2].difference < (1e-5 if precision == "fp32" else 0.05)


def test_training_changes_weights_and_leaves_no_gradients(monkeypatch):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 1000))
    before = model[1].weight.detach().clone()
    config = SpeedConfig(("gcvit_pico",), mode="train", **(BRIEF | {"size": 32}))
    conditions = Conditions(torch.device("cpu"), training=True)
    prepared = speed._prepare(contenders_of(config)[0], model, 2, config, conditions, None)
    prepared.step()
    assert model.training
    assert not torch.equal(model[1].weight, before)
    assert model[1].weight.grad is None


def test_medians_ratios_and_throughput(monkeypatch):
    rows, _ = timed(monkeypatch, {A: always(10), B: always(4)}, rounds=3)
    assert [row.median_ms for row in rows] == pytest.approx([10, 4])
    assert [row.images_per_second for row in rows] == pytest.approx([200, 500])
    assert [row.speedup for row in rows] == pytest.approx([1, 2.5])
    assert [row.paired_speedup for row in rows] == pytest.approx([1, 2.5])


def test_paired_ratios_cancel_what_slows_a_whole_round(monkeypatch):
    # The first step finds out how long one takes; then come three rounds, each at another speed of the machine. B
    # is twice as fast in all but the first, when it was disturbed; the medians do not see that.
    lengths = {A: iter([10, 10, 20, 40]), B: iter([5, 20, 10, 20])}
    rows, _ = timed(monkeypatch, lengths, rounds=3, turn_seconds=0)
    assert rows[1].turns_ms == pytest.approx((20, 10, 20))
    assert rows[1].speedup == pytest.approx(1)
    assert rows[1].paired_speedup == pytest.approx(2)


def test_turns_alternate_and_are_long_enough(monkeypatch):
    # Lengths that are exact in binary, lest rounding ask for one step more.
    _, calls = timed(monkeypatch, {A: always(15.625), B: always(31.25)}, rounds=2, turn_seconds=0.0625)
    assert calls == [A, B] + 4 * [A] + 2 * [B] + 2 * [B] + 4 * [A]


def test_every_batch_size_has_its_own_baseline(monkeypatch):
    rows, _ = timed(monkeypatch, {A: always(3), B: always(6)}, batch_sizes=(1, 4), rounds=1)
    assert [row.batch_size for row in rows] == [1, 1, 4, 4]
    assert [row.speedup for row in rows] == pytest.approx([1, 0.5, 1, 0.5])
    assert rows[2].images_per_second == pytest.approx(4e3 / 3)


def test_compiled_models_are_compiled_for_one_batch_size(monkeypatch):
    compiled = []

    def compile_(model, *, dynamic):
        compiled.append(dynamic)
        return model

    monkeypatch.setattr(torch, "compile", compile_)
    run(SpeedConfig(("gcvit_pico", "gcvit_pico:compiled"), **(BRIEF | {"batch_sizes": (1, 2), "rounds": 1})))
    assert compiled == [False, False]


def test_percentiles_are_of_single_steps_and_only_where_there_are_enough(monkeypatch):
    # The first step finds out how long one takes; then two rounds of ever longer ones.
    (few,), _ = timed(monkeypatch, {A: iter([10, 10, 30])}, turn_seconds=0)
    assert few.steps == 2
    assert few.percentiles_ms == (pytest.approx(20), None, None)
    (some,), _ = timed(monkeypatch, {A: iter([10, *range(1, 11)])}, turn_seconds=0.05)
    assert some.steps == 10
    assert some.percentiles_ms == (pytest.approx(5.5), pytest.approx(9.1), None)
    (many,), _ = timed(monkeypatch, {A: iter([1, *range(1, 101)])}, turn_seconds=0.0499)
    assert many.steps == 100
    assert many.percentiles_ms == pytest.approx((50.5, 90.1, 99.01))
    assert many.turns_ms == pytest.approx((25.5, 75.5))


def test_energy_is_of_the_images_in_the_turns(monkeypatch):
    meter = iter([100.0, 130.0, 200.0, 250.0])
    monkeypatch.setattr(speed, "energy_meter", lambda device: lambda: next(meter))
    (row,), _ = timed(monkeypatch, {A: always(10)}, rounds=2, turn_seconds=0.02, batch_sizes=(4,))
    assert row.steps == 4
    assert row.joules_per_image == pytest.approx(80 / 16)


def test_peers_are_added_once_and_forms_to_all():
    config = SpeedConfig(("timm/convnext_tiny:channels_last", "gcvit_tiny:folded"), peers=True, forms=("compiled",))
    names = [str(contender) for contender in contenders_of(config)]
    assert names[:2] == ["timm/convnext_tiny:channels_last:compiled", "gcvit_tiny:folded:compiled"]
    assert names[2:] == [f"{peer}:compiled" for peer in PEERS if "convnext" not in peer]


def test_backbones_of_a_rectangle():
    rows = run(SpeedConfig((A, f"{A}:folded"), **(BRIEF | {"size": "64x96", "part": "backbone", "rounds": 1})))
    assert rows[1].difference < 1e-5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_sizes": ()}, "batch_sizes"),
        ({"batch_sizes": (1, 0)}, "batch_sizes"),
        ({"size": 31}, "size"),
        ({"size": "64x31"}, "size"),
        ({"size": "64,96"}, "HEIGHTxWIDTH"),
        ({"windows": (7, 7, 0, 7)}, "windows"),
        ({"mode": "train", "part": "backbone"}, "whole models"),
        ({"mode": "train", "precision": "pure-bf16"}, "fp32 weights"),
        ({"models": ("gcvit_pico:cudagraph",), "device": "cpu"}, "CUDA"),
        ({"models": ("gcvit_pico",), "forms": ("fast",)}, "no form 'fast'"),
        ({"rounds": 0}, "rounds"),
        ({"turn_seconds": -1.0}, "turn_seconds"),
        ({"threads": 0}, "threads"),
        ({"models": ("gcvit_pico:folded",), "mode": "train"}, "cannot be trained"),
        ({"models": ("gcvit_picco",)}, "gcvit_pico"),
    ],
)
def test_mistakes_in_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        run(SpeedConfig(**settings))


def test_images_that_a_model_does_not_take():
    with pytest.raises(ValueError, match="timm/gcvit_xxtiny does not take images of 72×72 px"):
        run(SpeedConfig(("timm/gcvit_xxtiny",), **(BRIEF | {"size": 72, "same_weights": False})))


def test_the_default_models_suit_the_mode():
    assert "gcvit_tiny:folded" in [str(contender) for contender in contenders_of(SpeedConfig())]
    assert machine(CPU, 1)["threads"] == "1"
    assert all(not contender.folded for contender in contenders_of(SpeedConfig(mode="train")))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory_on_a_gpu():
    config = SpeedConfig(("gcvit_pico", "gcvit_pico"), **(BRIEF | {"device": "cuda"}))
    first, second = run(config)
    assert first.peak_memory > 4 * first.parameters
    assert first.peak_memory == pytest.approx(second.peak_memory, rel=0.2)


@pytest.mark.skipif(not peak.REFERENCES.is_file(), reason="the system tells no peak of a process")
@pytest.mark.parametrize("training", [False, True])
def test_memory_on_a_cpu_is_of_weights_optimiser_and_a_step(training):
    """A layer of 64 MiB whose output is as large, before a small one: trained, its gradient and AdamW's two means too;
    what a larger step has needed before is forgotten."""
    torch.ones(2**26)
    config = SpeedConfig(("gcvit_pico",), mode="train" if training else "inference", **(BRIEF | {"size": 32}))
    wide = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 5461), torch.nn.Linear(5461, 1000))
    prepared = speed._prepare(contenders_of(config)[0], wide, 2, config, Conditions(CPU, training=training), None)
    weights = sum(part.nbytes for part in wide.parameters())
    assert prepared.peak_memory / weights == pytest.approx(4 if training else 1, rel=0.1)


DETECTORS = ("gcvit_pico", "timm/resnet18", "torchvision/maskrcnn_resnet50_fpn_v2")


@pytest.mark.parametrize("mode", ["inference", "train"])
def test_detectors_run(mode, monkeypatch):
    """On small heads; each looks into boxes and masks, and learns from objects."""
    small = HeadConfig(channels=8, hidden=16, proposals=8, detections=4, box_samples=8)
    monkeypatch.setattr(detectors, "HeadConfig", lambda kind: replace(small, head=kind))
    models = DETECTORS if mode == "train" else (*DETECTORS, "gcvit_pico:folded")
    rows = run(SpeedConfig(models, part="mask-rcnn", mode=mode, **BRIEF | {"batch_sizes": (1,), "rounds": 1}))
    assert [row.model for row in rows] == list(models)
    assert all(row.images_per_second > 0 for row in rows)
    assert all(row.macs > 0 for row in rows)


@pytest.mark.parametrize("name", ["gcvit_pico", "timm/resnet18", "torchvision/maskrcnn_resnet50_fpn_v2"])
def test_untrained_detectors_find_as_many_objects_as_trained_ones_may(name, monkeypatch):
    torch.manual_seed(0)
    small = HeadConfig(channels=8, hidden=16, proposals=200, detections=20)
    monkeypatch.setattr(detectors, "HeadConfig", lambda kind: replace(small, head=kind))
    model = detectors.build_detector(name, "mask-rcnn", (128, 192), None, None)
    with torch.no_grad():
        (found,) = model(torch.randn(1, 3, 128, 192, generator=torch.Generator().manual_seed(0)))
    masks = found["masks"] if isinstance(found, dict) else found.masks
    assert len(masks) == 20


def test_what_is_compared_of_detectors():
    config = SpeedConfig(part="cascade")
    assert config.sides == (800, 1344)
    assert str(contenders_of(config)[0]) == "gcvit_tiny"
    assert "torchvision/maskrcnn_resnet50_fpn_v2" in [str(one) for one in contenders_of(config)]
    assert SpeedConfig().sides == (224, 224)
    for settings, said in (
        ({"models": ("torchvision/maskrcnn_resnet50_fpn_v2",)}, "mask-rcnn or cascade"),
        ({"models": ("gcvit_pico:compiled",), "part": "cascade"}, "not compared compiled"),
        ({"part": "cascade", "precision": "pure-bf16"}, "fp32 or bf16"),
        ({"models": ("torchvision/maskrcnn_resnet50_fpn_v2:folded",), "part": "cascade"}, "our own models"),
    ):
        with pytest.raises(ValueError, match=said):
            run(SpeedConfig(**settings))
