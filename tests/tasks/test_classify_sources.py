"""What a person may give as a checkpoint, what its classes are called, and how ImageNet's folder names are read."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gcvit.factory import OpenedModel, create_model
from gcvit.tasks.classify.names import class_names, describe, readable, short
from gcvit.tasks.classify.sources import checkpoint_path
from gcvit.weights.catalogue import CATALOGUE
from gcvit.weights.preprocessing import Preprocessing


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
        with pytest.raises(ValueError, match="no epoch of this run was finished yet"):
            checkpoint_path(str(folder))


def test_a_folder_of_runs_is_answered_with_its_runs(tmp_path: Path) -> None:
    for name in ("a-001", "a-002"):
        make_run(tmp_path / "runs" / name, "best")
    with pytest.raises(ValueError, match=r"holds several runs; give one of them: .*a-001, .*a-002"):
        checkpoint_path(str(tmp_path / "runs"))
    (tmp_path / "other").mkdir()
    assert checkpoint_path(str(tmp_path / "other")) == str(tmp_path / "other")


def test_published_weights_know_imagenets_classes() -> None:
    entry = CATALOGUE["gcvit_xxtiny.nvlabs"]
    with torch.device("meta"):
        model, smaller = create_model("gcvit_xxtiny"), create_model("gcvit_xxtiny", num_classes=2)
    opened = OpenedModel(model, "gcvit_xxtiny", Preprocessing(), None, "", entry)
    names = class_names(opened)
    assert names is not None
    assert names == sorted(names)
    assert len(set(names)) == 1000
    assert [describe(names[at]).split(",")[0] for at in (0, 1, 999)] == ["tench", "goldfish", "toilet tissue"]
    assert class_names(replace(opened, labels=["mine"])) == ["mine"]
    assert class_names(replace(opened, entry=None)) is None
    assert class_names(replace(opened, model=smaller)) is None


def test_imagenets_folder_names_are_read_and_others_left_alone() -> None:
    assert describe("n01443537") == "goldfish, Carassius auratus"
    assert readable("n01443537") == "goldfish (n01443537)"
    assert short("n01443537") == "goldfish"
    for name in ("goldfish", "n99999999", "n0144353", "n01443537x"):
        assert describe(name) is None
        assert readable(name) == short(name) == name
