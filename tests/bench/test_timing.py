"""Clocks: what a turn consists of, and energy where a card tells it."""

import sys
from types import SimpleNamespace

import pytest
import torch

from gcvit.bench import timing
from gcvit.bench.timing import Turn, energy_meter, take_turn

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


def test_steps_are_told_apart(monkeypatch):
    moments, done = iter([1.0, 1.010, 1.050]), []
    monkeypatch.setattr(timing, "perf_counter", lambda: next(moments))
    turn = take_turn(lambda: done.append(1), 2, CPU)
    assert turn.steps_ms == pytest.approx((10, 40))
    assert turn.mean_ms == pytest.approx(25)
    assert turn.joules is None
    assert len(done) == 2


def test_energy_is_read_around_the_turn():
    order, readings = [], iter([5.0, 12.5])
    turn = take_turn(lambda: order.append("step"), 2, CPU, lambda: order.append("read") or next(readings))
    assert order == ["read", "step", "step", "read"]
    assert turn == Turn(turn.steps_ms, 7.5)


class NVMLError(Exception):
    pass


def card(monkeypatch, energy):
    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="12ab"))


def test_a_card_that_tells(monkeypatch):
    card(monkeypatch, lambda handle: {"GPU-12ab": 2500}[handle])
    assert energy_meter(GPU)() == 2.5


def test_a_card_that_does_not_tell(monkeypatch):
    def refuse(handle):
        raise NVMLError("Not Supported")

    card(monkeypatch, refuse)
    assert energy_meter(GPU) is None


def test_no_energy_without_the_package_or_a_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert energy_meter(GPU) is None
    assert energy_meter(CPU) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_steps_are_waited_for():
    a = torch.randn(4096, 4096, device="cuda")
    turn = take_turn(lambda: a @ a, 3, torch.device("cuda"))
    assert min(turn.steps_ms) > 0.1  # launching takes a hundredth of it
