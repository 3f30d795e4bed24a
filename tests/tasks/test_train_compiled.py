"""Training with compiled blocks: the same run, up to what the compiler's code rounds otherwise."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gcvit.kernels import cpu_attention
from gcvit.model.compiling import compile_blocks
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.segment import SEGMENT
from gcvit.tasks.train import train
from tasks.tiny import TINY, TINY_SCENES

pytestmark = pytest.mark.usefixtures("without_report")


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """The graphs that the tasks compile, each run as it was captured."""
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    monkeypatch.setattr("gcvit.tasks.train.compile_blocks", partial(compile_blocks, backend=backend))
    return graphs


def test_a_compiled_run_is_the_plain_run(
    captured: list[torch.fx.GraphModule], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit where captured graphs run as they are and both take torch's attention: drop path draws what it drew,
    and evaluation and the moving average see the trained weights."""
    monkeypatch.setattr(cpu_attention, "applies", lambda *tensors: False)
    plain = train(CLASSIFY, TINY, tmp_path / "plain")
    assert not captured
    compiled = train(CLASSIFY, replace(TINY, compile=True), tmp_path / "compiled")
    assert captured
    for folder in ("last", "best"):
        ours, theirs = (load_file(getattr(run, folder) / "model.safetensors") for run in (plain, compiled))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


def test_segmenters_are_compiled_too(captured: list[torch.fx.GraphModule], tmp_path: Path) -> None:
    """With checkpointed gradients, which changes nothing."""
    short = replace(TINY_SCENES, steps=2, val_images=2)
    found = train(SEGMENT, replace(short, compile=True, grad_checkpointing=True), tmp_path / "run")
    assert found.evaluation.metrics["miou"]
    assert captured
