"""Evaluation of a checkpoint: classes are matched by name, and the shares are those of a plain loop."""

import json
import math
import os
import shutil
import socket
import subprocess
import sys
from multiprocessing import active_children
from pathlib import Path

import pytest
import timm.data
import torch
from torch import Tensor, nn

from gcvit.data.augment import eval_transform
from gcvit.data.images import ImageError, load_image
from gcvit.data.shapes import ShapesDataset, write_class_folders
from gcvit.factory import OpenedModel, create_model, open_model
from gcvit.tasks.classify import TrainResult, evaluate, evaluate_checkpoint
from gcvit.tasks.classify.held_out import evaluation_loader
from gcvit.tasks.classify.inference import class_logits
from gcvit.weights.catalogue import CATALOGUE
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing
from tasks import evaluation_worker
from tasks.evaluation_worker import columns


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty held-out images as class folders."""
    root = tmp_path_factory.mktemp("folders") / "shapes"
    write_class_folders(root, {"val": 20}, 32)
    return root


def by_hand(source: Path, images: dict[str, list[Path]]) -> dict[str, float]:
    """Share of each class's images that the model names rightly, one image at a time, unfolded."""
    opened = open_model(source)
    size = opened.preprocessing.size
    prepare = eval_transform(size=size, crop_pct=opened.preprocessing.crop_pct)
    shares = {}
    with torch.inference_mode():
        for name, paths in images.items():
            named = [opened.labels[int(opened.model(prepare(load_image(path))[None]).argmax())] for path in paths]
            shares[name] = sum(guess == name for guess in named) / len(named)
    return shares


def test_classes_are_matched_by_name(tiny_run: TrainResult, folders: Path, tmp_path: Path) -> None:
    images = {folder.name: sorted(folder.iterdir()) for folder in (folders / "val").iterdir()}
    whole = evaluate_checkpoint(str(tiny_run.best), str(folders), batch_size=7)
    assert whole.images == 20
    assert whole.per_class == by_hand(tiny_run.best, images)
    assert whole.top1 == pytest.approx(sum(whole.per_class.values()) / 10)

    some = {name: paths for name, paths in images.items() if name in ("star", "arrow", "disc")}
    for name in some:  # a subset, whose sorted order is not that of the labels
        (tmp_path / "some").mkdir(exist_ok=True)
        (tmp_path / "some" / name).symlink_to(folders / "val" / name)
    part = evaluate_checkpoint(str(tiny_run.best), str(tmp_path / "some"))
    assert part.images == 6
    assert part.per_class == {name: whole.per_class[name] for name in sorted(some)}


def test_an_unknown_class_is_named(tiny_run: TrainResult, folders: Path, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    for name, other in (("star", "star"), ("disc", "dog"), ("arrow", "cat")):
        (tmp_path / "some" / other).symlink_to(folders / "val" / name)
    with pytest.raises(
        ValueError, match=r"some has classes that .*best was not trained on: 'cat', 'dog'; it knows 'disc', "
    ):
        evaluate_checkpoint(str(tiny_run.best), str(tmp_path / "some"))


def test_without_labels_the_number_of_classes_must_fit(folders: Path, tmp_path: Path) -> None:
    for outputs in (10, 7):
        model = create_model("gcvit_pico", num_classes=outputs, img_size=32)
        save_hub(model, tmp_path / str(outputs), preprocessing=Preprocessing(size=(32, 32)))
    assert evaluate_checkpoint(str(tmp_path / "10"), str(folders)).images == 20
    with pytest.raises(ValueError, match=r"has 7 outputs and no class names, so .* needs 7 class folders.*it has 10"):
        evaluate_checkpoint(str(tmp_path / "7"), str(folders))


def test_published_weights_are_measured_on_some_of_imagenets_folders(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = create_model("gcvit_pico", img_size=32).eval()
    torch.nn.init.zeros_(model.head.weight)
    model.head.bias.data = torch.eye(1000)[1]  # all images are goldfish, n01443537
    entry = CATALOGUE["gcvit_tiny.nvlabs"]
    opened = OpenedModel(model, "gcvit_tiny", Preprocessing((32, 32)), None, "", entry)
    monkeypatch.setitem(evaluate_checkpoint.__globals__, "open_model", lambda source: opened)
    (tmp_path / "some").mkdir()
    for name, other in (("star", "n15075141"), ("disc", "n01443537")):
        (tmp_path / "some" / other).symlink_to(folders / "val" / name)
    measured = evaluate_checkpoint("gcvit_tiny", str(tmp_path / "some"))
    assert measured.per_class == {"n01443537": 1.0, "n15075141": 0.0}
    assert measured.measures()["most_confused"] == [{"class": "n15075141", "taken_for": "n01443537", "images": 2}]

    for at in range(1000):  # as many folders as outputs, of other names
        (tmp_path / "thousand" / f"{at:03}").mkdir(parents=True)
        (tmp_path / "thousand" / f"{at:03}" / "a.png").symlink_to(folders / "val" / "star" / "0002.png")
    with pytest.raises(ValueError, match=r"not trained on: '000', .*; it knows 'n01440764', "):
        evaluate_checkpoint("gcvit_tiny", str(tmp_path / "thousand"))


def test_another_size(tiny_run: TrainResult) -> None:
    progress: list[tuple[int, int]] = []
    result = evaluate_checkpoint(
        str(tiny_run.best),
        images=10,
        size=(40, 33),
        batch_size=4,
        progress=lambda done, total: progress.append((done, total)),
    )
    assert result.size == (40, 33)
    assert progress == [(4, 10), (8, 10), (10, 10)]


@pytest.fixture
def seven(folders: Path, tmp_path: Path) -> Path:
    """Seven images in three classes, of which one is cut off."""
    for name, count in (("arrow", 2), ("ring", 2), ("star", 3)):
        (tmp_path / "seven" / name).mkdir(parents=True)
        for index in range(count):
            source = sorted((folders / "val" / name).iterdir())[index % 2]
            shutil.copy(source, tmp_path / "seven" / name / f"{index}.png")
    broken = tmp_path / "seven" / "ring" / "1.png"
    broken.write_bytes(broken.read_bytes()[:100])
    return tmp_path / "seven"


def test_processes_with_uneven_shares_all_return_what_one_does(
    tiny_run: TrainResult, seven: Path, tmp_path: Path
) -> None:
    ranks, best = 2, str(tiny_run.best)
    alone = columns(evaluate_checkpoint(best, str(seven), bad_images="skip", batch_size=1).result)
    single = columns(evaluate_checkpoint(best, images=1).result)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, evaluation_worker.__file__, str(tiny_run.best), str(seven), str(tmp_path)]
    processes = [
        subprocess.Popen(
            command, env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=subprocess.PIPE
        )
        for rank in range(ranks)
    ]
    spoken = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * ranks
    first, *others = spoken
    found = json.loads(first)  # of the command; the first process alone speaks and writes
    assert (found["images"], found["loss"]) == (6, alone["losses"].double().mean().item())
    assert others == [b""] * (ranks - 1)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == found
    assert (tmp_path / "out" / "report.html").is_file()
    assert alone["positions"].tolist() == [0, 1, 2, 4, 5, 6]
    for rank in range(ranks):
        for found, expected in zip(torch.load(tmp_path / f"{rank}.pt"), (alone, single), strict=True):
            assert found["unreadable"] == expected["unreadable"]
            for name in ("positions", "labels", "predicted", "confidence", "losses", "counts"):
                assert torch.equal(found[name], expected[name]), (rank, name)


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_images_are_an_error_or_left_out_and_listed(
    tiny_run: TrainResult, seven: Path, workers: int
) -> None:
    before = active_children()
    with pytest.raises(ImageError, match=r"ring.1\.png"):
        evaluate_checkpoint(str(tiny_run.best), str(seven), workers=workers)
    assert active_children() == before  # or the command would end a minute late
    part = evaluate_checkpoint(str(tiny_run.best), str(seven), bad_images="skip", batch_size=2, workers=workers)
    assert part.images == 6
    ((position, file, reason),) = part.result.unreadable
    assert (position, file) == (3, str(seven / "ring" / "1.png"))
    assert reason
    assert "cannot read image" not in reason
    (seven / "ring" / "1.png").unlink()
    assert evaluate_checkpoint(str(tiny_run.best), str(seven)).per_class == part.per_class


def test_nothing_but_unreadable_images_is_an_error(tiny_run: TrainResult, seven: Path) -> None:
    for file in seven.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the 7 images could be read; the first: .*0\.png: the file is empty"):
        evaluate_checkpoint(str(tiny_run.best), str(seven), bad_images="skip")


class Fixed(nn.Module):
    """Logits that are a known function of the image: its mean in the left half and in the right half, and zero."""

    def forward(self, images: Tensor) -> Tensor:
        halves = images.mean(1).mean(1).chunk(2, dim=1)
        return torch.stack([5 * half.mean(1) for half in halves] + [torch.zeros(len(images))], dim=1)


def test_losses_and_confidences_are_those_of_a_plain_loop() -> None:
    images = ShapesDataset("val", 9, 32)
    preprocessing = Preprocessing(size=(32, 32), crop_pct=1.0)
    labels = [index % 3 for index in range(10)]
    device = torch.device("cpu")
    loader = evaluation_loader(images, preprocessing, batch_size=4, workers=0, device=device, labels=labels)
    plain, flipped = (evaluate(Fixed(), loader, device=device, tta=tta) for tta in ("none", "flip"))
    prepare = eval_transform(size=(32, 32), crop_pct=1.0)
    for index in range(9):
        left, right, zero = (math.exp(v) for v in Fixed()(prepare(images[index][0])[None])[0].tolist())
        shares = [share / (left + right + zero) for share in (left, right, zero)]
        assert plain.losses[index].item() == pytest.approx(-math.log(shares[index % 3]), abs=1e-5)
        assert plain.confidence[index].item() == pytest.approx(max(shares), abs=1e-5)
        assert int(plain.predicted[index]) == shares.index(max(shares))
        both = [(shares[0] + shares[1]) / 2] * 2 + [shares[2]]  # the mirror image swaps left and right
        assert flipped.losses[index].item() == pytest.approx(-math.log(both[index % 3]), abs=1e-5)
    assert plain.loss == pytest.approx(plain.losses.mean().item())
    assert not torch.allclose(plain.losses, flipped.losses, atol=1e-3)


def test_with_flip_an_image_and_its_mirror_image_are_the_same() -> None:
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ours, mirrored = (class_logits(Fixed(), x, "flip").softmax(1) for x in (images, images.flip(3)))
    torch.testing.assert_close(ours, mirrored)
    assert not torch.allclose(class_logits(Fixed(), images).softmax(1), ours, atol=1e-3)


def test_answers_that_are_no_numbers_are_an_error() -> None:
    class Broken(Fixed):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * float("nan")

    loader = evaluation_loader(
        ShapesDataset("val", 3, 32), Preprocessing((32, 32)), batch_size=2, workers=0, device=torch.device("cpu"),
        labels=[0, 1, 2],
    )  # fmt: skip
    with pytest.raises(ValueError, match="3 of 3 images are not finite numbers"):
        evaluate(Broken(), loader, device=torch.device("cpu"))


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing((35, 48), crop_pct=0.9, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)),
        Preprocessing((33, 33), crop_pct=1.0, crop_mode="squash", interpolation="bilinear"),
    ],
)
def test_a_checkpoints_preprocessing_is_timms_pixel_by_pixel(
    folders: Path, tmp_path: Path, preprocessing: Preprocessing
) -> None:
    save_hub(create_model("gcvit_pico", num_classes=10), tmp_path, preprocessing=preprocessing)
    opened = open_model(tmp_path)
    images = ShapesDataset("val", 3, (61, 90))
    loader = evaluation_loader(images, opened.preprocessing, batch_size=3, workers=0, device=torch.device("cpu"))
    (batch,) = loader
    theirs = timm.data.create_transform(
        input_size=(3, *preprocessing.size),
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )
    assert torch.equal(batch.images, torch.stack([theirs(images[index][0]) for index in range(3)]))
    assert batch.positions.tolist() == [0, 1, 2]
