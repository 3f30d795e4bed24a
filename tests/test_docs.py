"""Every block of code in README.md and docs/*.md does what it says.

Python blocks run in one namespace for each page; a TOML block is written to the file that its first comment names,
and the command named after it runs. In bash blocks what begins with `gcvit` runs through `main`, each command once, in
a folder that holds the stand-ins below under the names that the pages use (PATH, RUN, PHOTO.jpg, …); a block that
speaks of `segment` finds a segmentation's PATH and RUN there. What trains or draws gets the settings of `TINY` as well.
Installing is passed over, and `mkdir` and `tar` run as they are. `gcvit_tiny` and `gcvit_small` are no larger than
`gcvit_pico` here, and their published weights are random.

A block that cannot run so has `<!-- shown: REASON -->` above it: its `gcvit` commands are parsed, the scripts and flags
that it names exist, and that is all. Any other program needs that mark. Blocks of `text` are no code, and nothing is
indented to make it look like code.
"""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from gcvit.cli.main import main
from gcvit.data.scenes import write_segmentation_folders
from gcvit.data.shapes import write_class_folders
from gcvit.factory import create_model
from gcvit.model import VARIANTS
from gcvit.opening import open as open_model
from gcvit.tasks.classify import CLASSIFY, recipes

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Settings for what would take minutes: the words that a command begins with, and what is added to it.
TINY = {
    "gcvit train classify": "--epochs 1 --warmup 0epochs --batch-size 20 --train-images 40 --val-images 20 --workers 0",
    "gcvit train segment": "--steps 2 --warmup 0steps --eval-every 2 --batch-size 2 --train-images 4 --val-images 2 "
    "--workers 0 --crop 64 64",
    "gcvit data shapes": "--train 10 --val 10 --size 64",
}
INSTALLING = re.compile(r"python3? -m venv |(\S*/)?pip install ")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page and first line, its language and text, and why it is only shown, if it is."""

    page: Path
    line: int
    language: str
    text: str
    shown: str | None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    def commands(self) -> Iterator[list[str]]:
        """The words of each, without comments; continued lines are one, and `&&` separates two."""
        for line in self.text.replace("\\\n", " ").splitlines():
            for command in line.split("&&"):
                if words := shlex.split(command, comments=True):
                    yield [re.sub(r"^(\S*/)?gcvit$", "gcvit", words[0]), *words[1:]]


def blocks(page: Path) -> list[Block]:
    """Those of a page, in order."""
    text = page.read_text("utf8")
    marked = r"^(?:<!-- shown: (.+?) -->\n)?(?:<!-- tests -->\n)?```(\w*)\n(.*?)^```$"
    return [
        Block(page, text.count("\n", 0, match.start(2)) + 1, match[2], match[3], match[1])
        for match in re.finditer(marked, text, re.MULTILINE | re.DOTALL)
    ]


class Parsed(BaseException):
    """Raised instead of doing what a command was asked to, once its arguments are read."""


def call(words: Sequence[str]) -> None:
    """A command as a person calls it; any exit code but 0 is a failure."""
    try:
        main(words[1:])
    except SystemExit as stop:
        if stop.code:
            pytest.fail(f"{shlex.join(words)} ends with exit code {stop.code}")


def parse(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only read a command's arguments, which a wrong name or flag does not survive; RUN stands for exports."""
    real, words = tyro.cli, ["RUN" if word.startswith("exported/") else word for word in words]

    def read(*arguments: object, **options: object) -> None:
        real(*arguments, **options)  # type: ignore[call-overload]
        raise Parsed

    with monkeypatch.context() as patch:
        patch.setattr(tyro, "cli", read)
        with pytest.raises(Parsed):
            call(words)


@pytest.fixture(scope="module", autouse=True)
def _charts_are_not_drawn() -> Iterator[None]:
    """They would take most of the time, and are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        blank = Image.new("RGB", (1, 1))
        patch.setattr(FigureCanvasAgg, "print_figure", lambda canvas, file, format, **how: blank.save(file, format))
        yield


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages name: RUN and PATH in classify/ and in segment/, all else in both/."""
    root = tmp_path_factory.mktemp("stand-ins")
    write_class_folders(root / "classify" / "PATH", {"train": 70, "val": 20}, 64)
    write_segmentation_folders(root / "segment" / "PATH", {"train": 30, "val": 2}, 64)
    for task in ("classify", "segment"):
        tiny = shlex.split(TINY[f"gcvit train {task}"])
        call(["gcvit", "train", task, *tiny, "--out", str(root / task / "RUN")])
    both = root / "both"
    for name in ("FOLDER", "PHOTOS", "gcvit-runs", "photos"):
        (both / name).mkdir(parents=True)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    for name in ("PHOTO.jpg", "photo.jpg", "FOLDER/1.jpg", "FOLDER/2.jpg", "PHOTOS/1.jpg"):
        photo.save(both / name)
    for name in ("images", "cifar10", "photos/gulls"):
        (both / name).symlink_to(root / "classify" / "PATH")
    for run in ("quickstart-001", "small_images-001"):
        (both / "gcvit-runs" / run).symlink_to(root / "classify" / "RUN")
    (both / "gcvit-runs" / "segment_small-001").symlink_to(root / "segment" / "RUN")
    export(both)
    return root


def export(folder: Path) -> None:
    """FILE in three formats, for docs/export.md: what a classifier's export takes and gives, in one linear layer."""
    openvino = pytest.importorskip("openvino")
    onnx = pytest.importorskip("onnx")
    classes = [str(label) for label in range(5)]
    preprocessing = {"crop_pct": 0.875, "mean": [0.5] * 3, "std": [0.25] * 3}
    about = {"preprocessing": preprocessing, "size": [32, 32], "classes": classes}
    (folder / "FILE.onnx.json").write_text(json.dumps(about))
    weight = np.random.default_rng(0).normal(size=(3 * 32 * 32, len(classes))).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Flatten", ["images"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
    ]
    number = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "classifier",
        [onnx.helper.make_tensor_value_info("images", number, ["batch", 3, 32, 32])],
        [onnx.helper.make_tensor_value_info("logits", number, ["batch", len(classes)])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, folder / "FILE.onnx")
    openvino.save_model(openvino.Core().read_model(folder / "FILE.onnx"), folder / "FILE.xml")
    layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, len(classes)))
    images = torch.zeros(2, 3, 32, 32)
    torch.export.save(torch.export.export(layers, (images,), dynamic_shapes=({0: torch.export.Dim.AUTO},)),
                      folder / "FILE.pt2")  # fmt: skip


@pytest.fixture(scope="module")
def done() -> set[str]:
    """Commands that have run on some page, which need not run again."""
    return set()


@pytest.fixture
def scratch(stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a fresh one with the stand-ins, and the large models' names for small ones."""
    shutil.copytree(stand_ins / "both", tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setitem(CLASSIFY.recipes, "RECIPE", CLASSIFY.recipes["small_images"])
    monkeypatch.setattr(
        recipes, "finetune", lambda: replace(CLASSIFY.recipes["finetune"].config(), img_size=64, workers=0)
    )
    weights = tmp_path / "torch" / "hub" / "checkpoints"
    weights.mkdir(parents=True)
    for size in ("tiny", "small"):
        monkeypatch.setitem(VARIANTS, f"gcvit_{size}", VARIANTS["gcvit_pico"])
        torch.save(create_model("gcvit_pico").state_dict(), weights / f"gcvit_1k_{size}.pth.tar")
    shutil.copy(weights / "gcvit_1k_tiny.pth.tar", tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, scratch: Path, stand_ins: Path, done: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, object] = {"images": torch.randn(2, 3, 64, 64)}
    for block in blocks(page):
        print(f"{block}: {block.shown or block.language}")  # pytest shows it with a failure
        for name in ("PATH", "RUN"):
            (scratch / name).unlink(missing_ok=True)
            (scratch / name).symlink_to(stand_ins / ("segment" if "segment" in block.text else "classify") / name)
        if block.language == "bash":
            for words in block.commands():
                follow(words, block, done, monkeypatch)
        elif block.language == "json":
            json.loads(block.text)
        elif block.shown is None and block.language == "python":
            exec(compile(block.text, str(block), "exec"), namespace)
        elif block.shown is None and block.language == "toml":
            name, command = re.match(r"# (\S+\.toml): (.+)\n", block.text).groups()  # type: ignore[union-attr]
            Path(name).write_text(block.text)
            follow(shlex.split(command), block, done, monkeypatch)


def test_a_classifier_that_timm_opens_is_the_trained_one(scratch: Path, stand_ins: Path) -> None:
    """It would run with random weights, too."""
    (scratch / "RUN").symlink_to(stand_ins / "classify" / "RUN")
    (block,) = (block for block in blocks(ROOT / "README.md") if "local-dir:" in block.text)
    namespace: dict[str, torch.nn.Module] = {}
    exec(compile(block.text, str(block), "exec"), namespace)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(namespace["classifier"].eval()(images), open_model("RUN/best").model(images))


def follow(words: list[str], block: Block, done: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what a line of a bash block says, as far as the block lets us."""
    line = shlex.join(words)
    if INSTALLING.match(line):
        return
    if words[0] == "torchrun":
        words = words[words.index("-m") + 1 :]
    if words[0] == "gcvit":
        if block.shown is not None or line in done:
            parse(words, monkeypatch)
        else:
            done.add(line)
            call([*words, *(word for start, more in TINY.items() if line.startswith(start) for word in more.split())])
    elif block.shown is None:
        assert words[0] in ("mkdir", "tar"), f"{block}: {words[0]} does not run here; mark the block as shown"
        subprocess.run(words, check=True)
    for script in re.findall(r"(?<!\S)(?:runs|examples)/\S+", line):
        source = (ROOT / script).read_text("utf8")
        assert all(flag in source for flag in words if flag.startswith("--") and words[0] in ("python", "bash"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_hidden_from_this_test(page: Path) -> None:
    text = page.read_text("utf8")
    found = blocks(page)
    assert text.count("\n```") == 2 * len(found), "a fence that is not understood"
    assert {block.language for block in found} <= {"bash", "python", "toml", "json", "text"}
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"\n\n {4,}\S.*", outside), "indented code: fence it, with its language"
    assert len(re.findall("<!-- shown", text)) == sum(block.shown is not None for block in found)
