"""Two processes are one with two passes, stop together, and outlive each other."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from apart import Apart, Done, ranks
from faults import worker
from faults.killing import same_weights
from gcvit.engine.config import save_config
from gcvit.engine.log import read_log
from gcvit.opening import open as open_model
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.config import RunConfig
from gcvit.tasks.evaluate import evaluate
from gcvit.tasks.segment import SEGMENT
from gcvit.tasks.train import train
from tasks.tiny import TINY, TINY_SCENES

# Two passes on each of two processes: gradients stay where they are in the first and are averaged in the second.
TOGETHER = replace(TINY, accumulate=2, checkpoint_minutes=0.0)
ALONE = replace(TOGETHER, accumulate=4)


pytestmark = pytest.mark.usefixtures("without_report")


def words(folder: Path, fault: str, config: RunConfig) -> list[str]:
    """What a worker is told that trains into `folder`/run."""
    save_config(config, folder / "config.json")
    task = "classify" if isinstance(config, CLASSIFY.config) else "segment"
    return [task, str(folder / "config.json"), str(folder / "run"), fault]


def launch(restarts: int, arguments: list[str]) -> None:
    """What torchrun does after it has read its words; forks, where fresh interpreters take seconds."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id="test",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=restarts,
        monitor_interval=0.1,
        start_method="fork",
    )
    elastic_launch(config, worker.train)(*arguments)


def torchrun(folder: Path, fault: str, restarts: int = 0) -> Done:
    """Train on two processes; what torchrun and they said."""
    return Apart(launch, restarts, words(folder, fault, TOGETHER)).done()


def together(folder: Path, fault: str = "", config: RunConfig = TOGETHER) -> list[Done]:
    """Train on two processes, which nobody watches."""
    return [rank.done() for rank in ranks(2, worker.train, *words(folder, fault, config))]


def losses(run: Path) -> list[float]:
    return [event["loss"] for event in read_log(run / "log.jsonl") if event["event"] in ("steps", "evaluation")]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "last" / "model.safetensors")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left behind that trained undisturbed; rank 0 alone spoke."""
    folder = tmp_path_factory.mktemp("two")
    first, second = together(folder)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.count("best weights") == 1
    assert first.stderr.count("results go to") == 1
    assert second.stdout == ""
    return folder / "run"


def test_two_processes_are_one_process_with_two_passes(two: Path, tmp_path: Path) -> None:
    """Mixing, dropped paths and erasing included. Sums are taken in another order, which AdamW carries on: 1e-4."""
    one = train(CLASSIFY, ALONE, tmp_path / "one").out
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert len(losses(two)) == 8
    differences = [(weights(two)[name] - tensor).abs().max().item() for name, tensor in weights(one).items()]
    assert max(differences) < 1e-4
    plain = train(CLASSIFY, replace(ALONE, seed=4), tmp_path / "other").out
    assert losses(two) != pytest.approx(losses(plain), rel=1e-3)


def test_only_rank_0_writes(two: Path) -> None:
    events = read_log(two / "log.jsonl")
    assert [event["event"] for event in events].count("start") == 1
    assert events[0]["processes"] == 2


def test_a_rank_that_dies_is_restarted_and_training_goes_on(two: Path, tmp_path: Path) -> None:
    done = torchrun(tmp_path, "SIGKILL:0:4", restarts=1)
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stderr
    assert same_weights(tmp_path / "run" / "last", two / "last")


def test_without_restarts_the_others_do_not_wait_for_ever_and_another_number_goes_on(two: Path, tmp_path: Path) -> None:
    done = torchrun(tmp_path, "SIGKILL:1:7")
    assert done.returncode != 0
    one = train(CLASSIFY, ALONE, tmp_path / "run").out
    assert next(event["step"] for event in read_log(one / "log.jsonl") if event["event"] == "resume") == 3
    assert losses(one) == pytest.approx(losses(two), rel=1e-4)


def test_a_signal_to_one_rank_stops_all_at_the_same_step(two: Path, tmp_path: Path) -> None:
    done = together(tmp_path, "SIGUSR1:1:2")
    said = "".join(rank.stderr for rank in done)
    assert [rank.returncode for rank in done] == [0, 0], said
    assert said.count("saved at step 1 of 6, on SIGUSR1; the same command goes on from there") == 1
    assert [rank.returncode for rank in together(tmp_path)] == [0, 0]
    assert same_weights(tmp_path / "run" / "last", two / "last")


def test_what_one_rank_alone_cannot_do_ends_the_others_too(tmp_path: Path) -> None:
    done = together(tmp_path, "ERROR:1:5")
    assert all(rank.returncode != 0 for rank in done)
    assert "gcvit: rank 1: error: only this rank has a bad image" in done[1].stderr


def test_two_processes_segment_what_one_does_in_two_passes(tmp_path: Path) -> None:
    """Up to the order of additions; each evaluates its share, and the counts are those of one. With group norm: the
    statistics of a batch norm are each process's own where there is no GPU."""
    config = replace(TINY_SCENES, head=replace(TINY_SCENES.head, norm="group"))
    alone = train(SEGMENT, config, tmp_path / "alone").out
    done = together(tmp_path, config=replace(config, accumulate=1))
    assert [rank.returncode for rank in done] == [0, 0], done
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), rel=1e-3)
    for name, tensor in weights(alone).items():
        torch.testing.assert_close(weights(tmp_path / "run")[name], tensor, rtol=0, atol=5e-3, msg=name)


def test_with_batch_norm_two_processes_evaluate_the_model_that_is_saved(tmp_path: Path) -> None:
    """Although each has its own statistics while it trains."""
    config = replace(TINY_SCENES, accumulate=1)
    done = together(tmp_path, config=config)
    assert [rank.returncode for rank in done] == [0, 0], done
    (*_, last) = (event for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "evaluation")
    opened = open_model(tmp_path / "run" / "last")
    again = evaluate(opened, SEGMENT.open_held_out(config, opened, share=True), device="cpu").evaluation.metrics
    assert again == pytest.approx({name: last[name] for name in again}, rel=1e-5)
