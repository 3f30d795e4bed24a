"""Exported files in the place of trained models: what the commands ask for names, asks these."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from gcvit.data.augment import Transform, eval_transform
from gcvit.engine.config import override
from gcvit.export.formats import CODE, SUFFIXES
from gcvit.export.runtime import Program, load
from gcvit.export.sidecar import Sidecar, read_sidecar
from gcvit.model.config import Pair
from gcvit.tasks.segment.saving import OpenedSegmenter, ScenePreprocessing
from gcvit.tasks.segment.segmenter import SegmentationModel, SegmenterOutput
from gcvit.weights.preprocessing import Preprocessing

STRIDE = 4  # pixels that a cell of a segmentation model's logits stands for
AXES = {"classify": 2, "segment": 4}  # of the logits
OTHERS = {
    "classify": "a classifier; use `gcvit predict`",
    "segment": "a segmentation model; use `gcvit predict segment`",
    "backbone": "a backbone, which gives maps of features and names nothing; export the whole model",
}


class OpenedClassifier(NamedTuple):
    """A classifier that is ready for use: images (batch, 3, height, width) to logits (batch, classes).

    classes: their names in the order of the logits; None where nobody knows. transform: from a picture to an image.
    """

    model: nn.Module
    classes: list[str] | None
    transform: Transform


class ExportedClassifier(nn.Module):
    """The classifier in a file."""

    def __init__(self, program: Program, size: Pair) -> None:
        super().__init__()
        self.program, self.size = program, size

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, *size)."""
        (logits,) = self.program(images)
        return logits


class ExportedSegmenter(SegmentationModel):
    """The segmentation model in a file, which takes images of one size: smaller ones are continued with zeros, the mean
    colour, to the right and below."""

    def __init__(self, program: Program, size: Pair) -> None:
        super().__init__()
        self.program, self.size = program, size

    def forward(self, images: Tensor) -> SegmenterOutput:
        """Images of at most `size`. Raises ValueError for larger ones."""
        height, width = images.shape[-2:]
        if height > self.size[0] or width > self.size[1]:
            raise ValueError(
                f"this file takes {self.size[0]}×{self.size[1]} pixels, and {height}×{width} are to be seen at once; "
                f"leave out --mode whole, or export the model at that size"
            )
        (logits,) = self.program(pad(images, (0, self.size[1] - width, 0, self.size[0] - height)))
        return SegmenterOutput(logits[:, :, : -(-height // STRIDE), : -(-width // STRIDE)], None)

    def fold(self) -> Self:
        """Itself: it was folded before it was exported."""
        return self


def is_exported(source: str | Path) -> bool:
    """Whether the name is one of a file that `gcvit export` writes."""
    return str(source).endswith(tuple(SUFFIXES.values()))


def exported_device(name: str) -> torch.device:
    """Where an exported file runs: `auto` and `cpu` are the CPU. Raises ValueError for anything else."""
    if name not in ("auto", "cpu"):
        raise ValueError(f"device {name!r}: exported files run on the CPU here; take the checkpoint for a GPU")
    return torch.device("cpu")


def open_exported_classifier(path: str | Path, *, trust_code: bool = False) -> OpenedClassifier:
    """Open an exported classifier.

    trust_code: run what lies in a torch-export or aot file, as only whoever trusts its maker should.
    Raises ValueError when it is something else, when it or its sidecar is missing, damaged or changed since the export,
    when its runtime is not installed, and for a file of code that is not trusted.
    """
    sidecar, program = _open(path, "classify", trust_code)
    with _preprocessing_of(path):
        preprocessing = replace(override(Preprocessing(), sidecar.preprocessing), size=sidecar.size)
        transform = eval_transform(**asdict(preprocessing))
    return OpenedClassifier(ExportedClassifier(program, sidecar.size), sidecar.classes, transform)


def open_exported_segmenter(path: str | Path, *, trust_code: bool = False) -> OpenedSegmenter:
    """Open an exported segmentation model; its preprocessing's crop is the size that it takes.

    Raises ValueError as `open_exported_classifier` does.
    """
    sidecar, program = _open(path, "segment", trust_code)
    if sidecar.classes is None or sidecar.palette is None or len(sidecar.classes) != len(sidecar.palette):
        raise ValueError(f"{path}: its sidecar does not give each class a colour; export the model again")
    with _preprocessing_of(path):
        preprocessing = replace(override(ScenePreprocessing(), sidecar.preprocessing), crop=sidecar.size)
    model = ExportedSegmenter(program, sidecar.size)
    return OpenedSegmenter(model, sidecar.name, sidecar.classes, sidecar.palette, preprocessing, str(path))


def _open(path: str | Path, task: str, trust_code: bool) -> tuple[Sidecar, Program]:
    sidecar = read_sidecar(Path(path))
    if sidecar.task != task:
        raise ValueError(f"{path} is {OTHERS[sidecar.task]}")
    if sidecar.in_chans != 3:
        raise ValueError(f"{path} takes images of {sidecar.in_chans} channels, and pictures have 3")
    if sidecar.format in CODE and not trust_code:
        raise ValueError(
            f"{path} is a program, which would be run with all your rights; if you trust whoever made it, add "
            f"--trust-code (onnx and openvino files are data and need no trust)"
        )
    program = load(path, sidecar.format)
    logits, *others = program(torch.zeros(1, sidecar.in_chans, *sidecar.size))
    if others or logits.ndim != AXES[task]:
        raise ValueError(f"{path} does not give what its sidecar says; export the model again")
    if sidecar.classes is not None and logits.shape[1] != len(sidecar.classes):
        raise ValueError(
            f"{path} gives {logits.shape[1]} classes, its sidecar names {len(sidecar.classes)}; export the model again"
        )
    return sidecar, program


@contextmanager
def _preprocessing_of(path: str | Path) -> Iterator[None]:
    """Says of what cannot be where it stands."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: the preprocessing in its sidecar: {error}; export the model again") from error
