"""What a segmentation run leaves behind, where it starts from, and what it refuses before it begins."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gcvit.data.scenes import write_segmentation_folders
from gcvit.engine.config import load_config
from gcvit.engine.log import read_log
from gcvit.tasks.segment.config import SegmentConfig
from gcvit.tasks.segment.saving import open_segmenter
from gcvit.tasks.segment.train import TrainResult, train

from .tiny import TINY_SCENES


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(TINY_SCENES, tmp_path_factory.mktemp("segment") / "run")


def test_what_a_run_leaves_behind(trained: TrainResult) -> None:
    assert load_config(SegmentConfig(), trained.out / "train.json") == TINY_SCENES
    events = read_log(trained.out / "log.jsonl")
    evaluations = [event for event in events if event["event"] == "evaluation"]
    assert [event["step"] for event in evaluations] == [2, 4, 5]
    best = max(evaluations, key=lambda event: (event["miou"], event["step"]))
    assert trained.best_step == best["step"]
    assert trained.evaluation.counts.miou == pytest.approx(best["miou"], abs=1e-5)
    assert events[-1]["event"] == "end"
    assert events[-1]["miou"] == trained.evaluation.counts.miou
    for name in ("report.html", "curves.png", "best/config.json", "last/model.safetensors"):
        assert (trained.out / name).stat().st_size
    opened = open_segmenter(trained.out)
    assert opened.classes == trained.scenes.classes
    assert opened.preprocessing.crop == TINY_SCENES.augment.crop
    assert not any(name.startswith("module.") for name in load_file(trained.best / "model.safetensors"))


def test_a_run_on_folders_goes_on_from_a_run_on_built_in_scenes(
    trained: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_segmentation_folders(tmp_path / "data", {"train": 4, "val": 2}, (70, 50))
    config = replace(
        TINY_SCENES, data=str(tmp_path / "data"), weights=str(trained.out), steps=2, eval_every=2, resize=(64, 64)
    )
    found = train(config, tmp_path / "run")
    assert found.scenes.classes == trained.scenes.classes
    assert found.evaluation.images[0].pixels == 70 * 50  # at the picture's own size
    assert "parameters loaded as they are" in capsys.readouterr().err


def test_a_whole_run_without_any_label_in_some_crops_stays_finite(tmp_path: Path) -> None:
    """One picture has no label at all, another one a single class; both are no taller than a few pixels."""
    for part in ("training", "validation"):
        for kind in ("images", "annotations"):
            (tmp_path / "data" / kind / part).mkdir(parents=True)
        for number, labels in enumerate((np.full((1, 90), 255), np.zeros((7, 90)), np.tile([0, 1, 255], (40, 30)))):
            picture = np.full((*labels.shape, 3), 40 * number, dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "data" / "images" / part / f"{number}.png")
            Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "data" / "annotations" / part / f"{number}.png")
    (tmp_path / "data" / "classes.txt").write_text("sky\nsea\n")
    found = train(replace(TINY_SCENES, data=str(tmp_path / "data")), tmp_path / "run")
    losses = [event["loss"] for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "steps"]
    assert np.isfinite(losses).all()
    assert found.evaluation.counts.pixels == 7 * 90 + 40 * 60
    weights = load_file(found.last / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values() if tensor.is_floating_point())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "nowhere"}, "nowhere"),
        ({"batch_size": 3}, "cannot be divided"),
        ({"batch_size": 1, "accumulate": 1}, "batch norm needs at least 2 images"),
        ({"weights": "nowhere.pth"}, "no such file"),
        ({"device": "tpu"}, "device must be"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(replace(TINY_SCENES, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_statistics_of_batch_norms_are_averaged_with_the_weights(trained: TrainResult) -> None:
    """best/ and last/ are the moving average, whose running means must be no run's first ones."""
    state = load_file(trained.last / "model.safetensors")
    means = [tensor for name, tensor in state.items() if name.endswith("running_mean")]
    assert means
    assert all(mean.abs().sum() > 0 for mean in means)
    checkpoint = load_file(next((trained.out / "checkpoints").glob("*5")) / "model.safetensors")
    moved = [not torch.equal(state[name], checkpoint[name]) for name in state if name.endswith("running_mean")]
    assert all(moved)


def test_a_damaged_picture_names_itself_and_the_doctor(tmp_path: Path) -> None:
    write_segmentation_folders(tmp_path / "data", {"train": 4, "val": 2}, (48, 48))
    bad = sorted((tmp_path / "data" / "images" / "training").iterdir())[2]
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(ValueError, match=rf"{bad.name}.*`gcvit doctor segment`"):
        train(replace(TINY_SCENES, data=str(tmp_path / "data")), tmp_path / "run")
    end = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert end["event"] == "end"
