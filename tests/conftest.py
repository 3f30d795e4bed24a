"""One thread a process: the suite runs on several processes, and small models gain nothing from more."""

import gc
import os
import sys
from typing import BinaryIO

os.environ["OMP_NUM_THREADS"] = "1"  # of what tests start, too
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # in this process: another would import torch first
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the network; the hub client reads it on import

import pytest
from PIL import Image

from once import Once, once_in


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return  # it hands tests to others and runs none: what follows would keep them waiting
    os.fsync = os.fstat  # no file here has to outlive a power cut; a wrong descriptor is an error all the same
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it reaches for the network, for seconds
    import torch
    from hypothesis import settings

    torch.set_num_threads(1)
    gc.set_threshold(10_000)  # exporting makes millions of objects that stay; it is a seventh faster than with 700
    settings.register_profile("any machine", deadline=None)  # how long an example takes says nothing on a busy one
    settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _nobody_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Licences are told once a process; each test is a process of its own in this respect."""
    from gcvit.weights import catalogue

    monkeypatch.setattr(catalogue, "_told", set())


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes what all processes share."""
    return once_in(tmp_path_factory)


@pytest.fixture
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are blank, on pages too: to draw them takes most of a short command's time."""

    def draw(self: object, content: BinaryIO, *, format: str, **_: object) -> None:
        Image.new("RGB", (8, 8)).save(content, format)

    monkeypatch.setattr("matplotlib.backends.backend_agg.FigureCanvasAgg.print_figure", draw)


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end with an empty report and no charts, which take most of a tiny run's time."""
    from tasks.tiny import empty_report

    monkeypatch.setattr("gcvit.tasks.train.save_outputs", empty_report)
