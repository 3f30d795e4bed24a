"""Bad images while training: the batches are full, the same for any number of workers, and nothing is forgotten."""

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from gcvit.data.images import ImageError
from gcvit.data.quarantine import BadImage, Quarantine, Replacing
from gcvit.data.sampling import Share
from gcvit.data.splits import find_splits
from tasks.loading import training_loader
from tasks.tiny import TINY

IMAGES, BAD = 24, (3, 4, 17)


@pytest.fixture
def images(tmp_path):
    for index in range(IMAGES):
        file = tmp_path / "data" / "ab"[index // 12] / f"{index:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (index * 10, 0, 0)).save(file)
        if index in BAD:
            file.write_bytes(b"no image")
    return find_splits(tmp_path / "data").parts["whole"]()


def load(
    images, quarantine: Path, *, workers: int = 0, share: float = 1.0, passes: int = 2, rank: int = 0, start: int = 0
):
    """Batches of an epoch of three updates of 8 images."""
    config = replace(TINY, max_bad_images=share)
    part = Share(8, passes, rank, 2 // passes)
    return list(training_loader(images, config, part, workers=workers, quarantine=quarantine).epoch(0, start))


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_batches_are_full_and_the_same_for_any_workers_and_after_a_restart(images, tmp_path):
    whole = load(images, tmp_path / "0.jsonl")
    assert [tuple(labels.shape) for _, labels in whole] == [(4,)] * 6
    for workers in (1, 2):
        again = load(images, tmp_path / f"{workers}.jsonl", workers=workers)
        assert all(
            torch.equal(a, b) for one, two in zip(whole, again, strict=True) for a, b in zip(one, two, strict=True)
        )
    for one, two in zip(whole[4:], load(images, tmp_path / "late.jsonl", start=2), strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])


def test_only_the_places_of_bad_images_change(images, tmp_path):
    with_bad = load(images, tmp_path / "q.jsonl")
    order = training_loader(images, TINY, Share(8, 2)).sampler
    places = [index for update in range(3) for index in order.update(0, update)]
    for index in BAD:
        Image.new("RGB", (32, 32), (index * 10, 0, 0)).save(images.samples[index][0])
    mended = load(images, tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()
    changed = [
        place
        for place, (one, two) in enumerate(
            zip(torch.cat([x for x, _ in with_bad]), torch.cat([x for x, _ in mended]), strict=True)
        )
        if not torch.equal(one, two)
    ]
    assert [places[place] for place in changed] == [index for index in places if index in BAD]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_bad_image_is_listed_once(images, tmp_path, workers):
    path = tmp_path / "quarantine.jsonl"
    for _ in range(2):
        load(images, path, workers=workers)
    assert sorted(line["file"] for line in lines(path)) == [images.name(index) for index in BAD]
    assert {line["reason"][:12] for line in lines(path)} == {"not an image"}
    assert Quarantine(path, IMAGES, 1).count() == len(BAD)


def test_the_parts_of_two_processes_make_up_one(images, tmp_path):
    alone = load(images, tmp_path / "q.jsonl", passes=2)
    ranks = [load(images, tmp_path / "q.jsonl", passes=1, rank=rank) for rank in (0, 1)]
    together = [batch for pair in zip(*ranks, strict=True) for batch in pair]
    assert all(torch.equal(one[0], two[0]) for one, two in zip(alone, together, strict=True))
    assert len(lines(tmp_path / "q.jsonl")) == len(BAD)


def test_too_many_bad_images_stop_the_run(images, tmp_path):
    path = tmp_path / "quarantine.jsonl"
    assert load(images, path, share=3 / 24)
    with pytest.raises(
        ValueError, match=r"3 of the 24 training images .* share of 0\.1 .*jsonl lists them.*doctor PATH"
    ):
        load(images, path, share=0.1)
    path.unlink()
    with pytest.raises(ValueError, match="1 of the 24"):
        load(images, path, share=0.0, workers=1)


def test_error_is_the_default(images):
    loader = training_loader(images, TINY, Share(8))
    with pytest.raises(ImageError, match=r"cannot read image .*data"):
        list(loader.epoch(0))


def test_a_set_of_bad_images_ends(images):
    for source, _ in images.samples:
        source.write_bytes(b"")
    with pytest.raises(ImageError, match=r"a/00\.png, nor 99 others tried in its place: the file is empty"):
        Replacing(images)[0]


def test_many_processes_write_one_file(tmp_path):
    path = tmp_path / "q.jsonl"
    processes = [multiprocessing.get_context("fork").Process(target=list_all, args=(path, part)) for part in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(line["file"] for line in lines(path)) == sorted({f"{i % 50}.png" for i in range(50)})
    quarantine = Quarantine(path, 100, 1.0)
    quarantine.add(BadImage("7.png", "listed already"))
    with path.open("a") as file:
        file.write('{"file": "half')  # a disk that was full
    assert quarantine.count() == Quarantine(path, 100, 1.0).count() == 50


def list_all(path: Path, part: int) -> None:
    quarantine = Quarantine(path, 100, 1.0)
    for index in range(50):
        quarantine.add(BadImage(f"{(index + 7 * part) % 50}.png", "damaged, \n for a reason"))
