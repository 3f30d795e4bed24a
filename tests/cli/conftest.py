"""One small trained run and its class folders, and a way to call a command as a person would."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from gcvit.cli.main import main
from gcvit.data.label_maps import default_palette
from gcvit.data.scenes import SCENE_CLASSES, write_segmentation_folders
from gcvit.data.shapes import CLASSES, write_class_folders
from gcvit.factory import create_model
from gcvit.tasks.segment.config import UPerNetConfig
from gcvit.tasks.segment.saving import ScenePreprocessing, save_segmenter
from gcvit.tasks.segment.segmenter import Segmenter

# One epoch of a tiny model on few images: what a run leaves behind matters here, not what it learns.
SHORT = ["--model", "gcvit_pico", "--epochs", "1", "--batch-size", "20", "--warmup-epochs", "0", "--device", "cpu"]


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


Command = Callable[..., Outcome]


@pytest.fixture
def gcvit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Call `gcvit WORDS…` in an empty folder; an exception that a user would see as a traceback passes through."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

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


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run on the built-in images. Do not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    main(["train", "classify", "--out", str(out), "--train-images", "40", "--val-images", "20", *SHORT])
    return out


@pytest.fixture(scope="session")
def segment_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small segmentation model for the built-in scenes, untrained. Do not change it."""
    torch.manual_seed(0)
    backbone = create_model("gcvit_pico", img_size=64, head=False)
    model = Segmenter(backbone, len(SCENE_CLASSES), UPerNetConfig(channels=16, aux_channels=8))
    colours, preprocessing = default_palette(len(SCENE_CLASSES)), ScenePreprocessing(crop=(64, 64))
    folder = tmp_path_factory.mktemp("segment") / "model"
    return save_segmenter(model, folder, classes=SCENE_CLASSES, palette=colours, preprocessing=preprocessing)


@pytest.fixture(scope="session")
def segment_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in scenes as folders: one to train on, five held out. Do not change them."""
    root = tmp_path_factory.mktemp("data") / "scenes"
    write_segmentation_folders(root, {"train": 1, "val": 5}, 64)
    return root
