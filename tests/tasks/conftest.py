"""One tiny run of each task for all tests."""

import pytest

from gcvit.tasks.config import RunConfig
from gcvit.tasks.results import save_outputs
from gcvit.tasks.task import Task
from gcvit.tasks.train import TrainResult, train
from tasks.tiny import TASKS


def run(task: Task, tiny: RunConfig, factory: pytest.TempPathFactory) -> TrainResult:
    with pytest.MonkeyPatch.context() as patch:  # with its report, also where a test does `without_report`
        patch.setattr("gcvit.tasks.train.save_outputs", save_outputs)
        return train(task, tiny, factory.mktemp(task.name) / "run")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """TINY, run once. Do not change its files."""
    return run(*TASKS["classify"], tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_scenes_run(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """TINY_SCENES, run once. Do not change its files."""
    return run(*TASKS["segment"], tmp_path_factory)


@pytest.fixture(params=["tiny_run", "tiny_scenes_run"], ids=["classify", "segment"])
def every_run(request: pytest.FixtureRequest) -> TrainResult:
    """The tiny run of each task in turn."""
    return request.getfixturevalue(request.param)
