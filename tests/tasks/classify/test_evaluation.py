"""Evaluation of a classifier: classes are matched by name, and the figures are those of a plain loop."""

import math
from pathlib import Path
from typing import Any

import pytest
import timm.data
import torch

import gcvit
from gcvit.data.augment import eval_transform
from gcvit.data.images import load_picture
from gcvit.data.shapes import ShapesDataset, write_class_folders
from gcvit.factory import create_model
from gcvit.tasks.classify import CLASSIFY, ClassifyConfig
from gcvit.tasks.classify.evaluation import ClassifyEvaluation
from gcvit.tasks.classify.names import class_names
from gcvit.tasks.classify.settings import ClassifyLooks
from gcvit.tasks.evaluate import Measured, evaluate
from gcvit.tasks.opened import Opened
from gcvit.tasks.train import TrainResult
from gcvit.weights.catalogue import CATALOGUE
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing
from tasks import photos
from tasks.photos import Halves


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty held-out images as class folders."""
    root = tmp_path_factory.mktemp("folders") / "shapes"
    write_class_folders(root, {"val": 20}, 32)
    return root


def measured(opened: Opened, data: Path | None = None, images: int = 30, **settings: Any) -> Measured:
    config = ClassifyConfig(data=None if data is None else str(data), val_images=images)
    return evaluate(opened, CLASSIFY.open_held_out(config, opened, share=False), device="cpu", **settings)


def shares(opened: Opened, data: Path) -> dict[str, float]:
    """Top-1 by class."""
    return measured(opened, data, batch_size=7).evaluation.to_dict()["per_class"]


def by_hand(opened: Opened, images: dict[str, list[Path]]) -> dict[str, float]:
    """Share of each class's images that the model names rightly, one image at a time, unfolded."""
    prepare = eval_transform(size=opened.preprocessing.size, crop_pct=opened.preprocessing.crop_pct)
    found, classes = {}, opened.classes
    assert classes is not None
    with torch.inference_mode():
        for name, paths in images.items():
            named = [classes[int(opened.model(prepare(load_picture(path))[None]).argmax())] for path in paths]
            found[name] = sum(guess == name for guess in named) / len(named)
    return found


def test_classes_are_matched_by_name(tiny_run: TrainResult, folders: Path, tmp_path: Path) -> None:
    images = {folder.name: sorted(folder.iterdir()) for folder in (folders / "val").iterdir()}
    opened = gcvit.open(tiny_run.best)
    whole = measured(opened, folders).evaluation
    assert isinstance(whole, ClassifyEvaluation)
    assert whole.measured == 20
    assert whole.to_dict()["per_class"] == by_hand(opened, images)
    assert whole.metrics["top1"] == pytest.approx(sum(by_hand(opened, images).values()) / 10)

    some = {name: paths for name, paths in images.items() if name in ("star", "arrow", "disc")}
    for name in some:  # a subset, whose sorted order is not that of the labels
        (tmp_path / "some").mkdir(exist_ok=True)
        (tmp_path / "some" / name).symlink_to(folders / "val" / name)
    part = measured(opened, tmp_path / "some").evaluation
    assert part.measured == 6
    assert shares(opened, tmp_path / "some") == {name: by_hand(opened, images)[name] for name in sorted(some)}


def test_an_unknown_class_is_named(tiny_run: TrainResult, folders: Path, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    for name, other in (("star", "star"), ("disc", "dog"), ("arrow", "cat")):
        (tmp_path / "some" / other).symlink_to(folders / "val" / name)
    message = r"some: classes that .*best was not trained on: 'cat', 'dog'; it knows 'disc', "
    with pytest.raises(ValueError, match=message):
        measured(gcvit.open(tiny_run.out), tmp_path / "some")


def test_without_labels_the_number_of_classes_must_fit(folders: Path, tmp_path: Path) -> None:
    for outputs in (10, 7):
        model = create_model("gcvit_pico", num_classes=outputs, img_size=32)
        save_hub(model, tmp_path / str(outputs), preprocessing=Preprocessing(size=(32, 32)))
    assert measured(gcvit.open(tmp_path / "10"), folders).evaluation.measured == 20
    with pytest.raises(ValueError, match=r"has 7 outputs and no class names, so .* needs as many classes.*it has 10"):
        measured(gcvit.open(tmp_path / "7"), folders)


def test_published_weights_are_measured_on_some_of_imagenets_folders(folders: Path, tmp_path: Path) -> None:
    model = create_model("gcvit_pico", img_size=32).eval()
    torch.nn.init.zeros_(model.head.weight)
    model.head.bias.data = torch.eye(1000)[1]  # all images are goldfish, n01443537
    names = class_names(None, 1000, CATALOGUE["gcvit_tiny.nvlabs"])
    opened = Opened(CLASSIFY, model, "gcvit_tiny", Preprocessing((32, 32)), names, source="gcvit_tiny")
    (tmp_path / "some").mkdir()
    for name, other in (("star", "n15075141"), ("disc", "n01443537")):
        (tmp_path / "some" / other).symlink_to(folders / "val" / name)
    found = measured(opened, tmp_path / "some").to_dict()
    assert found["per_class"] == {"n01443537": 1.0, "n15075141": 0.0}
    assert found["most_confused"] == [{"class": "n15075141", "taken_for": "n01443537", "images": 2}]

    for at in range(1000):  # as many folders as outputs, of other names
        (tmp_path / "thousand" / f"{at:03}").mkdir(parents=True)
        (tmp_path / "thousand" / f"{at:03}" / "a.png").symlink_to(folders / "val" / "star" / "0002.png")
    with pytest.raises(ValueError, match=r"not trained on: '000', .*; it knows 'n01440764', "):
        measured(opened, tmp_path / "thousand")


def test_another_size(tiny_run: TrainResult) -> None:
    opened = gcvit.open(tiny_run.best)
    sized = opened.resized((40, 33))
    result = measured(sized, images=10, batch_size=4)
    assert (result.size, result.title) == ((40, 33), "gcvit_pico at 40×33 px")
    assert opened.preprocessing.size == (32, 32)
    assert result.evaluation.metrics != measured(opened, images=10).evaluation.metrics
    with pytest.raises(ValueError, match="too small"):
        opened.resized((16, 64))


def test_losses_and_confidences_are_those_of_a_plain_loop() -> None:
    images = ShapesDataset("val", 9, 32)
    columns = [index % 3 for index in range(10)]
    plain, flipped = (
        photos.evaluate(images, columns=columns, looks=ClassifyLooks(tta))  # type: ignore[arg-type]
        for tta in ("none", "flip")
    )
    prepare = eval_transform(size=(32, 32), crop_pct=1.0)
    for index in range(9):
        left, right, zero = (math.exp(v) for v in Halves()(prepare(images[index][0])[None])[0].tolist())
        shares = [share / (left + right + zero) for share in (left, right, zero)]
        assert plain.losses[index].item() == pytest.approx(-math.log(shares[index % 3]), abs=1e-5)
        assert plain.confidence[index].item() == pytest.approx(max(shares), abs=1e-5)
        assert int(plain.predicted[index]) == shares.index(max(shares))
        both = [(shares[0] + shares[1]) / 2] * 2 + [shares[2]]  # the mirror image swaps left and right
        assert flipped.losses[index].item() == pytest.approx(-math.log(both[index % 3]), abs=1e-5)
    assert plain.loss == pytest.approx(plain.losses.mean().item())
    assert not torch.allclose(plain.losses, flipped.losses, atol=1e-3)


def test_answers_that_are_no_numbers_are_an_error() -> None:
    broken = Halves()
    broken.scale.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="3 of 3 images are not finite numbers"):
        photos.evaluate(photos.Photos(photos.SIZES[:3]), broken)


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing((35, 48), crop_pct=0.9, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)),
        Preprocessing((33, 33), crop_pct=1.0, crop_mode="squash", interpolation="bilinear"),
    ],
)
def test_a_checkpoints_preprocessing_is_timms_pixel_by_pixel(tmp_path: Path, preprocessing: Preprocessing) -> None:
    save_hub(create_model("gcvit_pico", num_classes=10), tmp_path, preprocessing=preprocessing)
    opened = gcvit.open(tmp_path)
    prepare = CLASSIFY.transform(opened, ClassifyLooks())
    theirs = timm.data.create_transform(
        input_size=(3, *preprocessing.size),
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )
    for index in range(3):
        image, _ = ShapesDataset("val", 3, (61, 90))[index]
        assert torch.equal(prepare(image), theirs(image))
