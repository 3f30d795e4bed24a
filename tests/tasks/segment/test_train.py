"""What is a segmentation run's own: where it starts, pictures without labels, and its batch norms' statistics."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gcvit.data.scenes import write_segmentation_folders
from gcvit.engine.log import read_log
from gcvit.tasks.segment import SEGMENT
from gcvit.tasks.train import TrainResult, train
from tasks.tiny import TINY_SCENES

pytestmark = pytest.mark.usefixtures("without_report")


def test_a_run_on_folders_goes_on_from_a_run_on_built_in_scenes(
    tiny_scenes_run: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_segmentation_folders(tmp_path / "data", {"train": 4, "val": 2}, (70, 50))
    config = replace(
        TINY_SCENES,
        data=str(tmp_path / "data"),
        weights=str(tiny_scenes_run.out),
        steps=2,
        eval_every=2,
        resize=(64, 64),
    )
    found = train(SEGMENT, config, tmp_path / "run")
    assert found.data.classes == tiny_scenes_run.data.classes
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
    found = train(SEGMENT, replace(TINY_SCENES, data=str(tmp_path / "data")), tmp_path / "run")
    losses = [event["loss"] for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "steps"]
    assert np.isfinite(losses).all()
    assert found.evaluation.counts.pixels == 7 * 90 + 40 * 60
    weights = load_file(found.last / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values() if tensor.is_floating_point())


def test_the_statistics_of_batch_norms_are_averaged_with_the_weights(tiny_scenes_run: TrainResult) -> None:
    """best/ and last/ are the moving average, whose running means must be no run's first ones."""
    state = load_file(tiny_scenes_run.last / "model.safetensors")
    means = [tensor for name, tensor in state.items() if name.endswith("running_mean")]
    assert means
    assert all(mean.abs().sum() > 0 for mean in means)
    checkpoint = load_file(next((tiny_scenes_run.out / "checkpoints").glob("*5")) / "model.safetensors")
    moved = [not torch.equal(state[name], checkpoint[name]) for name in state if name.endswith("running_mean")]
    assert all(moved)


def test_batch_norm_of_a_single_image_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch norm needs at least 2 images"):
        train(SEGMENT, replace(TINY_SCENES, batch_size=1, accumulate=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()
