"""One small trained run and its class folders, and a way to call a command as a person would."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gcvit import shell
from gcvit.cli.main import main
from gcvit.data.label_maps import default_palette
from gcvit.data.scenes import SCENE_CLASSES, write_coco_folders, write_segmentation_folders
from gcvit.data.shapes import CLASSES, write_class_folders
from gcvit.export.sidecar import parts
from gcvit.factory import create_model
from gcvit.tasks.opened import Opened
from gcvit.tasks.results import save_outputs
from gcvit.tasks.segment import SEGMENT
from gcvit.tasks.segment.segmenter import Segmenter
from gcvit.tasks.segment.settings import ScenePreprocessing, UPerNetConfig
from once import Once

# One epoch of a tiny model on few images: what a run leaves behind matters here, not what it learns.
SHORT = ["--model", "gcvit_pico", "--epochs", "1", "--batch-size", "20", "--warmup", "0 steps", "--device", "cpu"]


SHORT_SEGMENT = ["--steps", "3", "--eval-every", "2", "--warmup", "1 step", "--batch-size", "2", "--norm", "group"]
SHORT_SEGMENT += ["--crop", "48", "48", "--channels", "8", "--aux-channels", "8", "--device", "cpu"]
SHORT_DETECT = ["--steps", "3", "--eval-every", "2", "--warmup", "1 step", "--batch-size", "2", "--channels", "8"]
SHORT_DETECT += ["--hidden", "16", "--scene-size", "64", "--size", "64", "--short", "64", "--device", "cpu"]
SHORT_RUNS = {"classify": SHORT, "segment": SHORT_SEGMENT, "detect": SHORT_DETECT}


@dataclass(frozen=True)
class Outcome:
    """What a command ended with: exit code and the text on stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """stderr on one line, without the frame that tyro draws."""
        return " ".join(self.err.replace("│", " ").split())

    @property
    def rows(self) -> list[dict]:
        """What stands on each line of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def next(self) -> list[list[str]]:
        """The words after `gcvit` of each command that is printed to be typed next."""
        _, _, printed = self.out.partition("\nNext:\n")
        lines = [shlex.split(line) for line in printed.splitlines()]
        return [words[min(at for at, word in enumerate(words) if word.endswith("gcvit")) + 1 :] for words in lines]


Command = Callable[..., Outcome]


@pytest.fixture
def gcvit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Call `gcvit WORDS…` in an empty folder; an exception that a user would see as a traceback passes through."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(shell, "_gcvit", lambda: ["gcvit"])  # as where its environment is active

    def call(*words: object) -> Outcome:
        capsys.readouterr()
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in images as class folders: four of each class to train on, two held out. Do not change them."""
    root = tmp_path_factory.mktemp("data") / "shapes"
    write_class_folders(root, {"train": 4 * len(CLASSES), "val": 2 * len(CLASSES)}, 64)
    return root


def short_run(once: Once, task: str, training: str, held_out: str) -> Path:
    """With its report, also where a test does `without_report`."""

    def train(folder: Path) -> None:
        words = ["--out", str(folder / "run"), "--train-images", training, "--val-images", held_out]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gcvit.tasks.train.save_outputs", save_outputs)
            main(["train", task, *words, *SHORT_RUNS[task]])

    return once(f"{task}-run", train) / "run"


@pytest.fixture(scope="session")
def run_folder(once: Once) -> Path:
    """The folder of a short run on the built-in images. Do not change it."""
    return short_run(once, "classify", "40", "20")


@pytest.fixture(scope="session")
def best(run_folder: Path) -> Path:
    return run_folder / "best"


@pytest.fixture(scope="session")
def segment_run(once: Once) -> Path:
    """The folder of a short segmentation run on the built-in scenes. Do not change it."""
    return short_run(once, "segment", "4", "2")


@dataclass(frozen=True)
class Example:
    """A task with a short run on its built-in pictures, and such pictures in a folder. Do not change either."""

    task: str
    run: Path
    data: Path
    score: str
    held_out: str
    """where the held-out pictures lie in `data`"""


@pytest.fixture(scope="session")
def detect_run(once: Once) -> Path:
    """The folder of a short detection run on the built-in scenes. Do not change it."""
    return short_run(once, "detect", "4", "2")


@pytest.fixture(scope="session")
def detect_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built-in scenes in COCO's folders. Do not change them."""
    root = tmp_path_factory.mktemp("data") / "coco"
    write_coco_folders(root, {"train": 30, "val": 6}, 64)
    return root


EXAMPLES = {
    "classify": ("run_folder", "folders", "top1", "val"),
    "segment": ("segment_run", "segment_scenes", "miou", "images/validation"),
}


@pytest.fixture(scope="session", params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> Example:
    """Each task in turn."""
    run, data, score, held_out = EXAMPLES[request.param]
    return Example(request.param, request.getfixturevalue(run), request.getfixturevalue(data), score, held_out)


@pytest.fixture(scope="session")
def segment_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small segmentation model for the built-in scenes, untrained. Do not change it."""
    torch.manual_seed(0)
    backbone = create_model("gcvit_pico", img_size=64, head=False)
    model = Segmenter(backbone, len(SCENE_CLASSES), UPerNetConfig(channels=16, aux_channels=8))
    opened = Opened(
        SEGMENT,
        model,
        "gcvit_pico",
        ScenePreprocessing(crop=(64, 64)),
        list(SCENE_CLASSES),
        palette=default_palette(len(SCENE_CLASSES)),
    )
    folder = tmp_path_factory.mktemp("segment") / "model"
    SEGMENT.save(opened, model, folder, {})
    return folder


@pytest.fixture(scope="session")
def segment_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in scenes as folders: one to train on, five held out. Do not change them."""
    root = tmp_path_factory.mktemp("data") / "scenes"
    write_segmentation_folders(root, {"train": 1, "val": 5}, 64)
    return root


@pytest.fixture(params=["classify", "segment"])
def model(request: pytest.FixtureRequest) -> Path:
    """A small model of each task in turn."""
    if request.param == "classify":
        return request.getfixturevalue("best")
    return request.getfixturevalue("segment_model")


class Fake:
    """In the place of the converters and runtimes: files that stand for the model, times `factor`; int8 files and
    others take as many `seconds`."""

    def __init__(self) -> None:
        self.factor, self.seconds = 1.0, {"int8": 0.0, "fp32": 0.0}
        self.models: dict[str, nn.Module] = {}
        self.calibrated: list[list[Tensor]] = []

    def convert(self, model: nn.Module, path: Path, to: Any, size: Any, outputs: Any = ()) -> None:
        self.models[path.name] = model
        for part in parts(path, to):
            part.write_text(f"{to} {size} {self.factor}")

    def quantise(self, source: Path, target: Path, to: Any, calibration: list[Tensor]) -> None:
        self.calibrated.append(calibration)
        self.convert(self.models[source.name], target, to, "int8")

    def load(self, path: Path, to: Any) -> Callable[[Tensor], list[Tensor]]:
        def run(images: Tensor) -> list[Tensor]:
            sleep(self.seconds["int8" if "int8" in path.name else "fp32"])
            found = self.models[Path(path).name](images)
            return [self.factor * x for x in ([found] if isinstance(found, Tensor) else found)]

        return run

    def stand_in(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr("gcvit.export.writing.convert", self.convert)
        patch.setattr("gcvit.export.writing.quantise", self.quantise)
        patch.setattr("gcvit.export.writing.load", self.load)
        patch.setattr("gcvit.export.opening.load", self.load)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    made.stand_in(monkeypatch)
    return made
