"""One tiny run for all tests."""

import pytest

from gcvit.tasks.classify import TrainResult, train
from tasks.tiny import TINY


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """TINY, run once. Do not change its files."""
    return train(TINY, tmp_path_factory.mktemp("tiny") / "run")
