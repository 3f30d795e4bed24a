"""Batches are a function of seed and epoch; what is held out is found by itself."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gcvit.data.classify import open_class_folders
from gcvit.data.shapes import CLASSES, ShapesDataset, write_class_folders
from gcvit.tasks.classify.data import open_held_out, open_images, to_device, training_loader
from gcvit.weights.preprocessing import Preprocessing
from tasks.tiny import TINY

CPU = torch.device("cpu")


def epochs(*wanted: int, workers: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images and labels of whole epochs of 2 × 8 of 20 images, in the order asked for, from one loader."""
    images = ShapesDataset("train", 20, 32)
    loader = training_loader(
        images, replace(TINY, workers=workers), Preprocessing(size=(32, 32)), batches=2, device=CPU
    )
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


def test_held_out_is_val_or_the_folder_itself_or_built_in(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", {"train": 20, "val": 10}, 32)
    for path, images, said in (
        (tmp_path / "data", 10, f"{tmp_path / 'data' / 'val'}"),
        (tmp_path / "data" / "train", 20, f"{tmp_path / 'data' / 'train'}: all in it, also those that .* trained on"),
        (None, 7, "the built-in shapes"),
    ):
        dataset, described = open_held_out(path and str(path), images=7, size=(32, 32))
        assert len(dataset) == images
        assert sorted(dataset.classes) == sorted(CLASSES)
        assert re.fullmatch(f"{said}.*", described)


@pytest.mark.parametrize("inside", ["", "train"])
def test_what_training_held_out_can_be_evaluated_on_again(tmp_path: Path, inside: str) -> None:
    write_class_folders(tmp_path / "data", {"train": 60}, 32)
    root = tmp_path / "data" if inside else tmp_path / "data" / "train"
    config = replace(TINY, data=str(root), val_fraction=0.4, seed=5)
    dataset, described = open_held_out(config.data, images=7, size=(32, 32), val_fraction=0.4, seed=5)
    assert dataset.samples == open_images(config, (32, 32)).held_out.samples
    assert len(dataset) == 20
    assert "val_fraction 0.4 and seed 5" in described
    other, _ = open_held_out(config.data, images=7, size=(32, 32), val_fraction=0.4, seed=6)
    assert other.samples != dataset.samples


def test_a_val_folder_is_what_is_held_out_whatever_the_fraction(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", {"train": 20, "val": 10}, 32)
    dataset, _ = open_held_out(str(tmp_path / "data"), images=7, size=(32, 32), val_fraction=0.5)
    assert dataset.samples == open_class_folders(tmp_path / "data")[1].samples


def test_images_reach_the_model_in_the_memory_order_it_computes_in() -> None:
    images, labels = to_device((torch.rand(2, 3, 8, 8), torch.tensor([0, 1])), CPU)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.tolist() == [0, 1]
