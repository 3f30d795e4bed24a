"""Pictures of other channels and other numbers than RGB's, from the doctor to an exported file."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gcvit as library
from gcvit.data.settings import PixelFormat

from .conftest import SHORT_RUNS, Command, Fake

RANGE = ["--value-range", "0", "4095"]  # of 12 bits


def write_pictures(root: Path, channels: int) -> None:
    """Two classes, dark and light, of numbers of 12 bits; every third is held out."""
    noise = np.random.default_rng(0)
    for index in range(36):
        split, label = ("val" if index % 3 == 2 else "train"), ("dark", "light")[index % 2]
        values = noise.integers(0, 1000, (40, 48, channels)) + (3000 if label == "light" else 0)
        folder = root / split / label
        folder.mkdir(parents=True, exist_ok=True)
        if channels == 1:
            Image.fromarray(values[..., 0].astype(np.uint16)).save(folder / f"{index:02}.png")
        else:
            np.save(folder / f"{index:02}.npy", values.astype(np.uint16))


@pytest.mark.parametrize("channels", [1, 5])
def test_pictures_of_other_channels(gcvit: Command, fake: Fake, channels: int) -> None:
    """An exported file is stood for; real ones are in tests/export/test_runtime.py, of other channels too."""
    write_pictures(Path("scans"), channels)
    asked = ["--in-chans", channels, *RANGE]

    words, found = ["doctor", "scans"], []
    while words[0] == "doctor":
        examined = gcvit(*words, "--workers", 0)
        (words,) = examined.next
        found.append((examined.code, words[2:] if words[0] == "doctor" else []))
    assert found == [(1, [*(["--in-chans", "5"] if channels == 5 else []), *RANGE]), (0, [])]
    words = gcvit("doctor", "scans", "--workers", 0, *asked).next[0]
    assert words[:2] == ["train", "classify"]
    flags = words[words.index("--data") :]
    assert flags[flags.index("--mean") : flags.index("--mean") + channels + 1].count("--std") == 0

    trained = gcvit(*words[:2], "quickstart", *flags, *SHORT_RUNS["classify"], "--img-size", 32, "--out", "run")
    assert trained.code == 0, trained.err
    opened = library.open("run")
    assert opened.pixels == PixelFormat(channels, (0, 4095))
    assert opened.model.config.in_chans == channels
    mean = json.loads(Path("run/best/config.json").read_text())["pretrained_cfg"]["mean"]
    assert mean == pytest.approx([np.mean([499.5, 3499.5]) / 4095] * channels, abs=0.02)
    assert Path("run/report.html").is_file()

    assert "top-1" in gcvit("eval", "run", "--device", "cpu").out
    picture = next(iter(sorted(Path("scans/val/dark").iterdir())))
    (line,) = gcvit("predict", "run", picture, "--json", "--device", "cpu").out.splitlines()
    said = json.loads(line)["predictions"]
    assert gcvit("predict", "run", picture, "--out", "drawn", "--device", "cpu").code == 0
    with Image.open(next(Path("drawn").glob("*.png"))) as drawn:
        assert drawn.mode == "RGB"

    assert gcvit("export", "run", "--to", "onnx", "--images", "scans/val").code == 0
    (file,) = Path("exported").glob("*.onnx")
    (line,) = gcvit("predict", file, picture, "--json").out.splitlines()
    for exported, own in zip(json.loads(line)["predictions"], said, strict=True):
        assert (exported["label"], exported["probability"]) == (
            own["label"],
            pytest.approx(own["probability"], abs=1e-4),
        )

    array = np.load(picture) if channels == 5 else np.asarray(Image.open(picture))
    for given in (array, array.astype(float)):
        assert opened.predict(given, device="cpu").to_dict()["predictions"] == said
    wrong = gcvit("predict", "run", "wrong.npy")
    np.save("wrong.npy", np.zeros((40, 40, channels + 1), np.uint16))
    wrong = gcvit("predict", "run", "wrong.npy", "--device", "cpu")
    assert wrong.code == 1
    assert f"{channels + 1} bands, and the model takes pictures of {channels} channel" in wrong.message


def test_grey_scenes(gcvit: Command) -> None:
    run = gcvit("train", "segment", "--train-images", 4, "--val-images", 2, *SHORT_RUNS["segment"], "--in-chans", 1)
    assert run.code == 0, run.err
    opened = library.open("gcvit-runs/segment_small-001")
    assert opened.pixels == PixelFormat(1)
    assert opened.model.backbone.config.in_chans == 1
    assert "mIoU" in gcvit("eval", "gcvit-runs/segment_small-001", "--device", "cpu").out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--in-chans", 1, "--mean", 0.1, 0.2], "mean must be as many numbers as in_chans (1)"),
        (["--std", 0.1, 0, 0.2], "std must be above 0"),
        (["--value-range", 3, 3], "value_range must be two different numbers"),
        (["--in-chans", 4], "the built-in scenes are RGB of 8 bits, or grey"),
    ],
)
def test_what_cannot_be(gcvit: Command, flags: list[object], said: str) -> None:
    for task in ("classify", "segment"):
        result = gcvit("train", task, *flags)
        assert result.code == 2
        assert said in result.message
