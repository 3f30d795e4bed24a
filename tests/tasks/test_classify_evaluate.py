"""Evaluation of a checkpoint: classes are matched by name, and the shares are those of a plain loop."""

from pathlib import Path

import pytest
import torch

from gcvit.data.augment import eval_transform
from gcvit.data.images import load_image
from gcvit.data.shapes import write_class_folders
from gcvit.factory import create_model, open_model
from gcvit.tasks.classify import TrainResult, evaluate_checkpoint
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing


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
    with pytest.raises(ValueError, match=r"some has classes that .*best was not trained on: cat, dog; it knows disc, "):
        evaluate_checkpoint(str(tiny_run.best), str(tmp_path / "some"))


def test_without_labels_the_number_of_classes_must_fit(folders: Path, tmp_path: Path) -> None:
    for outputs in (10, 7):
        model = create_model("gcvit_pico", num_classes=outputs, img_size=32)
        save_hub(model, tmp_path / str(outputs), preprocessing=Preprocessing(size=(32, 32)))
    assert evaluate_checkpoint(str(tmp_path / "10"), str(folders)).images == 20
    with pytest.raises(ValueError, match=r"has 7 outputs and no class names, so .* needs 7 class folders.*it has 10"):
        evaluate_checkpoint(str(tmp_path / "7"), str(folders))


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
