"""Prediction, whatever the task: an answer depends on its picture alone, not on its form or on its neighbours."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gcvit
from gcvit.data.images import load_picture
from gcvit.data.settings import RGB8
from gcvit.tasks.classify.answer import Classification
from gcvit.tasks.classify.settings import ClassifyLooks, ClassifyTelling
from gcvit.tasks.opened import Answer, Failure, Opened, Prepared, read_ahead
from gcvit.tasks.segment.answer import Segmentation
from gcvit.tasks.segment.settings import SegmentLooks
from gcvit.tasks.train import TrainResult
from tasks import photos, scenes

# (height, width): runs of one size, a row of pixels, one that is wider than any crop.
SIZES = [(48, 64), (48, 64), (33, 50), (48, 64), (64, 40), (64, 40), (64, 40), (1, 70), (37, 41), (130, 60)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of those sizes, among them a turned JPEG, a grey one and one with transparent corners."""
    folder = tmp_path_factory.mktemp("pictures")
    found = []
    for index, size in enumerate(SIZES):
        image, _ = scenes.Scenes(SIZES)[index]
        path = folder / f"{index:02}.png"
        if index == 2:
            exif, path = Image.Exif(), path.with_suffix(".jpg")
            exif[274] = 6  # to be turned by a quarter
            image.save(path, exif=exif, quality=95)
        elif index == 3:
            image.convert("L").save(path)
        elif index == 4:
            image.convert("RGBA").rotate(20).save(path)
        else:
            image.save(path)
        assert load_picture(path).size[::-1] == (size if index != 2 else size[::-1])
        found.append(path)
    return found


@pytest.fixture
def opened(every_run: TrainResult) -> Opened:
    return gcvit.open(every_run.out)


@pytest.fixture(scope="module")
def one_by_one(files: list[Path]) -> Callable[[Opened], list[Answer]]:
    """What the run's model of a task says of the files, one at a time."""
    found: dict[str, list[Answer]] = {}

    def answers(opened: Opened) -> list[Answer]:
        if opened.task.name not in found:
            found[opened.task.name] = predict(opened, files, batch_size=1)
        return found[opened.task.name]

    return answers


def assert_same(one: Answer, other: Answer, *, exactly: bool = True) -> None:
    """Whether two answers say the same; not exactly: up to the rounding of another batch."""
    assert type(one) is type(other)
    if isinstance(one, Classification) and isinstance(other, Classification):
        ours, theirs = ({guess.index: guess.probability for guess in answer.guesses} for answer in (one, other))
        assert theirs == (ours if exactly else pytest.approx(ours, rel=1e-4, abs=1e-6))
        return
    assert isinstance(one, Segmentation)
    assert isinstance(other, Segmentation)
    assert one.labels.shape == other.labels.shape
    assert (one.labels == other.labels).mean() >= (1.0 if exactly else 0.999)


TELLING: dict[str, Any] = {"classify": ClassifyTelling(top_k=10), "segment": None}


def predict(opened: Opened, pictures: Any, **settings: Any) -> Any:
    return opened.predict(pictures, telling=TELLING[opened.task.name], device="cpu", **settings)


def tensor_of(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


FORMS = {
    "text": str,
    "path": lambda path: path,
    "PIL": Image.open,
    "array": lambda path: np.asarray(load_picture(path)),
    "tensor": lambda path: tensor_of(load_picture(path)),
    "floats": lambda path: tensor_of(load_picture(path)) / 255,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_picture_gets_the_same_answer(
    opened: Opened, files: list[Path], one_by_one: Callable[[Opened], list[Answer]], form: str
) -> None:
    given = [FORMS[form](path) for path in files]
    expected = one_by_one(opened)
    for picture, answer, path in zip(given, expected, files, strict=True):
        one = predict(opened, picture)
        assert isinstance(one, Answer)
        assert_same(one, answer)
        assert one.to_dict()["file"] == (str(path) if form in ("text", "path") else None)
        assert one.picture.tobytes() == load_picture(path).tobytes()
    many = predict(opened, given, batch_size=1)
    assert isinstance(many, list)
    for answer, same in zip(expected, many, strict=True):
        assert_same(answer, same)


@pytest.mark.parametrize("looks", ["as usual", "every way"])
def test_an_answer_does_not_depend_on_the_neighbours(opened: Opened, files: list[Path], looks: str) -> None:
    ways: dict[str, Any] = {
        "classify": ClassifyLooks("flip"),
        "segment": SegmentLooks("slide", (0.75, 1.0), True),
    }
    shown = ways[opened.task.name] if looks == "every way" else None
    alone = [predict(opened, path, looks=shown) for path in files]
    for batch_size, some in product((2, 7, None), (range(len(files)), range(len(files))[::-1])):
        together = predict(opened, [files[index] for index in some], looks=shown, batch_size=batch_size)
        for index, answer in zip(some, together, strict=True):
            assert_same(alone[index], answer, exactly=False)
            assert answer.source == files[index]


def test_ways_to_be_shown_a_picture_are_not_the_usual_one(opened: Opened, files: list[Path]) -> None:
    """So that the tests before this one can fail."""
    ways: dict[str, Any] = {"classify": ClassifyLooks("flip"), "segment": SegmentLooks("slide", (0.5, 1.0), True)}
    usual, other = (predict(opened, files[9], looks=looks) for looks in (None, ways[opened.task.name]))
    with pytest.raises(AssertionError):
        assert_same(usual, other, exactly=False)


def test_one_picture_given_many_times_is_decoded_by_one_thread(tmp_path: Path) -> None:
    """Pillow reads a file when it is asked for pixels, which two threads cannot ask for at once."""
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.jpg")
    for _ in range(3):
        found = list(read_ahead([Image.open(tmp_path / "large.jpg")] * 8, RGB8, tensor_of, 8))
        for item in found[0]:
            assert isinstance(item, Prepared)
            assert torch.equal(item.image, found[0][0].image)  # type: ignore[union-attr]


def test_what_cannot_be_read_is_told_in_its_place(opened: Opened, files: list[Path], tmp_path: Path) -> None:
    broken, missing = tmp_path / "broken.png", tmp_path / "missing.png"
    broken.write_bytes(files[0].read_bytes()[:60])
    given = [files[0], broken, files[1], missing, files[5]]
    found = list(opened.answers(given, batch_size=3, device="cpu"))
    assert [isinstance(item, Failure) for item in found] == [False, True, False, True, False]
    for item, path in zip(found, given, strict=True):
        assert item.source == path
        if isinstance(item, Failure):
            assert item.error.startswith(f"cannot read image {path}: ")
            assert "\n" not in item.error
    with pytest.raises(ValueError, match=r"cannot read image .*broken\.png"):
        opened.predict(given, device="cpu")


def test_pictures_that_are_numbered_are_several(opened: Opened, files: list[Path]) -> None:
    class Album:
        def __getitem__(self, index: int) -> Path:
            return files[:2][index]

    assert len(opened.predict(Album(), device="cpu", batch_size=np.int64(2))) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pictures", "settings", "said"),
    [
        *((given, {}, "a picture is a file's path, .*, not ") for given in (None, 3, b"x.png", [["x.png"]], [3])),
        *(("x.png", {"batch_size": size}, "batch_size must be a whole number") for size in (0, -1, 2.5)),
        ("x.png", {"precision": "fp8"}, "precision must be auto or fp32 or bf16, not 'fp8'"),
        *(("x.png", {name: "flip"}, f"{name} must be a .*, or None, not 'flip'") for name in ("looks", "telling")),
    ],
)
def test_what_is_no_picture_and_no_setting_is_refused(
    opened: Opened, pictures: Any, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        opened.predict(pictures, device="cpu", **settings)


def test_any_iterable_of_pictures(opened: Opened, files: list[Path]) -> None:
    assert opened.predict([]) == []
    assert opened.predict(iter(())) == []
    expected = opened.predict(files[:2], device="cpu")
    for many in (iter(files[:2]), tuple(files[:2])):
        for one, other in zip(expected, opened.predict(many, device="cpu"), strict=True):
            assert_same(one, other)
    (alone,) = opened.predict(files[:1], device="cpu")
    assert alone.source == files[0]


def test_a_bar_is_shown_only_where_it_is_asked_for_and_beside_the_output(
    opened: Opened, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    opened.predict(files[:2], device="cpu")
    assert capsys.readouterr() == ("", "")
    opened.predict(files[:2], device="cpu", progress=True)
    assert capsys.readouterr().out == ""


def test_it_changes_neither_the_model_nor_the_random_numbers(opened: Opened, files: list[Path]) -> None:
    before = {name: tensor.clone() for name, tensor in opened.model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    opened.predict(files[0], device="cpu")
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in opened.model.state_dict().items())
    assert opened.folded is opened.folded
    assert torch.is_grad_enabled()


def test_answers_are_made_as_they_are_asked_for(opened: Opened, files: list[Path]) -> None:
    """And gradients are only off while they are."""
    answers = opened.answers(files, batch_size=1, device="cpu")
    assert isinstance(next(answers), Answer)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_drawings_and_what_is_saved(opened: Opened, files: list[Path], tmp_path: Path) -> None:
    for path in (files[0], files[2], files[7]):
        answer = opened.predict(path, device="cpu")
        drawn = answer.draw()
        assert drawn.mode == "RGB"
        assert max(drawn.size) > 500
        assert answer.line()
        assert "\n" not in answer.line()
        written = answer.save(tmp_path / path.stem)
        assert written
        assert {Path(file) for file in written.values()} == set(tmp_path.glob(f"{path.stem}.*"))
        with Image.open(tmp_path / f"{path.stem}.png" if "drawn" in written else written["overlay"]) as image:
            assert image.size == drawn.size


@pytest.mark.parametrize("device", ["tpu", "cuda:99"])
def test_a_device_that_is_not_here_is_refused(opened: Opened, files: list[Path], device: str) -> None:
    with pytest.raises(ValueError, match="device"):
        opened.predict(files[0], device=device)


def test_exported_files_run_on_the_cpu_at_their_size() -> None:
    exported = photos.opened()
    exported.exported, exported.source = True, "model.onnx"
    for name in ("cuda", "cuda:1", "tpu"):
        with pytest.raises(ValueError, match="exported files run on the CPU"):
            exported.predict(photos.Photos([(40, 64)])[0][0], device=name)
    for name in ("auto", "cpu"):
        assert exported.predict(photos.Photos([(40, 64)])[0][0], device=name)
    assert exported.folded is exported.model
    with pytest.raises(ValueError, match=r"--size: model\.onnx takes one size"):
        exported.resized((64, 64))


def test_another_size_is_another_model_with_the_same_weights(every_run: TrainResult) -> None:
    opened = gcvit.open(every_run.out)
    before = opened.task.size(opened.preprocessing)
    other = opened.resized((96, 64))
    assert opened.task.size(other.preprocessing) == (96, 64)
    assert opened.task.size(opened.preprocessing) == before
    assert other.model is opened.model
