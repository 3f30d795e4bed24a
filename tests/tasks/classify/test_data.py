"""Batches are a function of seed and epoch, whatever the images lie in."""

import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gcvit.data.sampling import Share
from gcvit.data.shapes import CLASSES, ShapesDataset, write_class_folders
from gcvit.data.tars import write_index
from gcvit.tasks.classify.data import open_images
from tasks.loading import training_loader
from tasks.tiny import TINY

CPU = torch.device("cpu")


def epochs(*wanted: int, workers: int = 0, images: Any = None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images and labels of whole epochs of 2 × 8 of 20 images, in the order asked for, from one loader."""
    images = images or ShapesDataset("train", 20, 32)
    loader = training_loader(images, TINY, Share(8), workers=workers)
    found = []
    for epoch in wanted:
        batches = list(loader.epoch(epoch))
        assert [len(labels) for _, labels in batches] == [8, 8]
        found.append((torch.cat([batch[0] for batch in batches]), torch.cat([batch[1] for batch in batches])))
    return found


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_is_the_same_whatever_came_before(workers: int) -> None:
    zero, one, again = epochs(0, 1, 0, workers=workers)
    (alone,) = epochs(1)
    assert torch.equal(zero[0], again[0])
    assert torch.equal(one[0], alone[0])
    assert torch.equal(one[1], alone[1])
    assert not torch.equal(zero[1], one[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_folders_and_archives_give_the_same_batches(tmp_path: Path, workers: int) -> None:
    write_class_folders(tmp_path / "folders", {"train": 20, "val": 10}, 32)
    (tmp_path / "tars").mkdir()
    files = sorted((tmp_path / "folders").glob("*/*/*.png"), key=lambda file: file.name[::-1])
    for shard in range(3):
        for split in ("train", "val"):
            archive = tmp_path / "tars" / f"shapes-{split}-{shard}.tar"
            with tarfile.open(archive, "w") as tar:
                for file in (file for file in files[shard::3] if split in file.parts):
                    tar.add(file, f"./{file.relative_to(tmp_path / 'folders')}")
            write_index(archive)
    whole = [open_images(replace(TINY, data=str(tmp_path / form))) for form in ("folders", "tars")]
    assert whole[0].classes == whole[1].classes == sorted(CLASSES)
    for split in ("train", "held_out"):
        one, two = (getattr(images, split) for images in whole)
        assert len(one) == len(two)
        for index in range(len(one)):
            assert one[index][0].tobytes() == two[index][0].tobytes()
            assert one.label(index) == two.label(index) == one[index][1]
            assert two.name(index).endswith("/".join(Path(one.name(index)).parts[-2:]))
    (one,), (two,) = (epochs(1, images=images.train, workers=workers) for images in whole)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_without_a_folder_the_built_in_shapes_are_trained_on() -> None:
    images = open_images(TINY)
    assert (len(images.train), len(images.held_out)) == (TINY.train_images, TINY.val_images)
    assert images.classes == list(CLASSES)
    assert images.train[0][0].size == (32, 32)
