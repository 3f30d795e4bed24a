"""What a person may give as a checkpoint."""

from pathlib import Path

import pytest

from gcvit.tasks.sources import checkpoint_path


def make_run(root: Path, *saved: str) -> Path:
    root.mkdir(parents=True)
    (root / "train.json").write_text("{}")
    (root / "checkpoints" / "step-000004").mkdir(parents=True)
    for name in saved:
        (root / name).mkdir()
        (root / name / "config.json").write_text("{}")
    return root


def test_a_runs_folder_stands_for_its_best_weights(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "best", "last")
    assert checkpoint_path(str(run)) == str(run / "best")
    for other in (run / "last", tmp_path / "absent.pth", "gcvit_tiny", "owner/name"):
        assert checkpoint_path(str(other)) == str(other)


def test_a_training_checkpoint_is_answered_with_what_to_give(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "best", "last")
    for folder in (run / "checkpoints", run / "checkpoints" / "step-000004"):
        with pytest.raises(ValueError, match=r"does not say what model it is; give .*run/best or .*run/last"):
            checkpoint_path(str(folder))
    young = make_run(tmp_path / "young")
    for folder in (young, young / "checkpoints" / "step-000004"):
        with pytest.raises(ValueError, match="nothing of this run was evaluated yet"):
            checkpoint_path(str(folder))


def test_a_folder_of_runs_is_answered_with_its_runs(tmp_path: Path) -> None:
    for name in ("a-001", "a-002"):
        make_run(tmp_path / "runs" / name, "best")
    with pytest.raises(ValueError, match=r"holds several runs; give one of them: .*a-001, .*a-002"):
        checkpoint_path(str(tmp_path / "runs"))
    (tmp_path / "other").mkdir()
    assert checkpoint_path(str(tmp_path / "other")) == str(tmp_path / "other")
