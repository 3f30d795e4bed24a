"""`gcvit predict`: names what is in images, thousands of them if need be."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn
from tyro.conf import Positional

from gcvit.cli.arguments import parse
from gcvit.cli.inputs import find_files, read_ahead
from gcvit.cli.output import complain, next_steps, say
from gcvit.data.augment import eval_transform
from gcvit.data.images import ImageError
from gcvit.engine.device import resolve_device
from gcvit.export.opening import OpenedClassifier, exported_device, is_exported, open_exported_classifier
from gcvit.factory import open_model
from gcvit.tasks.classify.inference import TTA, class_logits
from gcvit.tasks.classify.names import class_names, describe, readable
from gcvit.tasks.sources import checkpoint_path
from gcvit.weights.preprocessing import Preprocessing

LEAST = 0.0005  # below it a next best would be shown as 0.0%


@dataclass(frozen=True)
class Predict:
    """Name what is in images: for each the likeliest classes and their shares."""

    model: Positional[str]
    """a model's name (its published weights are fetched), a checkpoint file, a hub directory, a run's folder, or a file
    of `gcvit export`"""
    images: Positional[tuple[Path, ...]]
    """image files, and folders that are searched for images"""
    top_k: int = 5
    """how many classes to give for each image"""
    json: bool = False
    """one JSON object a line: {"file", "predictions": [{"label", "index", "probability"}]}"""
    size: int | None = None
    """side of the square shown to the model, in pixels, at least 32; none: the checkpoint's own; exported files
    have one size"""
    tta: TTA = "none"
    """flip: the mean of what the model says of the image and of its mirror image"""
    batch_size: int = 32
    """images computed at once"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:1; exported files run on the cpu"""
    trust_code: bool = False
    """run the code in a .pt2 or .aot.pt2 file: only if you trust whoever made it"""


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one image, best first: (label, index, probability in 0..1)."""

    file: Path
    classes: tuple[tuple[str, int, float], ...]


def run(argv: Sequence[str]) -> int:
    """Show predictions as they come; 1 when an image could not be read, after all the others."""
    argv = argv[1:] if argv[:1] == ["classify"] else argv
    arguments = parse(Predict, "predict", argv)
    if arguments.top_k < 1 or arguments.batch_size < 1:
        raise ValueError("--top-k and --batch-size are at least 1")
    files = [file for path in arguments.images for file in find_files(path)]
    if not files:
        raise ValueError("name at least one image or folder: gcvit predict MODEL photo.jpg")
    exported = is_exported(arguments.model)
    opened, device = _exported(arguments) if exported else _trained(arguments)

    writer = as_json if arguments.json else Lines(files)
    unreadable = 0
    for item in predict(opened, files, arguments.top_k, arguments.batch_size, device, tta=arguments.tta):
        if isinstance(item, Prediction):
            say(writer(item))
        else:
            complain(str(item))
            unreadable += 1
    if unreadable:
        complain(f"{unreadable} of {len(files)} images could not be read; see the messages above")
        return 1
    if not arguments.json:
        trust = ["--trust-code"] if arguments.trust_code else []
        again = ["gcvit", "predict", arguments.model, *arguments.images[:1], *trust, "--json"]
        next_steps(again, *([] if exported else [["gcvit", "info", arguments.model]]))
    return 0


def _trained(arguments: Predict) -> tuple[OpenedClassifier, torch.device]:
    """A checkpoint, folded. Raises ValueError when it has no classes."""
    device = resolve_device(arguments.device)
    opened = open_model(checkpoint_path(arguments.model))
    if opened.model.config.num_classes == 0:
        raise ValueError(f"{arguments.model} has no classes (num_classes=0), only features; give a classifier")
    transform = eval_transform(**asdict(resized(opened.preprocessing, arguments.size)))
    return OpenedClassifier(opened.model.fold().to(device), class_names(opened), transform), device


def _exported(arguments: Predict) -> tuple[OpenedClassifier, torch.device]:
    """An exported file. Raises ValueError for what it cannot do."""
    if arguments.size is not None:
        raise ValueError(f"--size: {arguments.model} takes one size; leave it out, or export the model at another")
    device = exported_device(arguments.device)
    return open_exported_classifier(arguments.model, trust_code=arguments.trust_code), device


def resized(preprocessing: Preprocessing, size: int | None) -> Preprocessing:
    """The checkpoint's preprocessing at another side in pixels. Raises `ValueError` below 32."""
    if size is None:
        return preprocessing
    if size < 32:
        raise ValueError(f"--size {size}: the smallest image that GC ViT can see is 32 pixels a side")
    return replace(preprocessing, size=(size, size))


@torch.inference_mode()
def predict(
    opened: OpenedClassifier,
    files: Sequence[Path],
    top_k: int,
    batch_size: int,
    device: torch.device,
    *,
    tta: TTA = "none",
) -> Iterator[Prediction | ImageError]:
    """One item for each file, in order: its prediction, or why it could not be read."""
    for batch in read_ahead(files, opened.transform, batch_size):
        images = [image for _, image in batch if not isinstance(image, ImageError)]
        best = iter(likeliest(opened.model, torch.stack(images).to(device), top_k, tta) if images else ())
        for file, image in batch:
            if isinstance(image, ImageError):
                yield image
            else:
                yield Prediction(file, tuple((_name(opened, index), index, share) for index, share in next(best)))


def _name(opened: OpenedClassifier, index: int) -> str:
    return str(index) if opened.classes is None else opened.classes[index]


def likeliest(model: nn.Module, images: torch.Tensor, top_k: int, tta: TTA = "none") -> list[list[tuple[int, float]]]:
    """(index, probability) of the `top_k` best classes of each image, best first."""
    probabilities = class_logits(model, images, tta).softmax(dim=-1)
    best = probabilities.topk(min(top_k, probabilities.shape[-1]), dim=-1)
    rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [list(zip(indices, values, strict=True)) for indices, values in rows]


def as_json(prediction: Prediction) -> str:
    """The prediction as one line of JSON."""
    classes = []
    for label, index, probability in prediction.classes:
        description = describe(label)
        described = {} if description is None else {"description": description}
        classes.append({"label": label, **described, "index": index, "probability": float(f"{probability:.6g}")})
    return json.dumps({"file": str(prediction.file), "predictions": classes}, ensure_ascii=False)


class Lines:
    """Predictions as aligned lines that stream, unlike a table, which would wait for the last image."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.width = min(max(len(str(file)) for file in files), 40)
        say(f"{'file':{self.width}}  {'label':20}  prob.  next best")

    def __call__(self, prediction: Prediction) -> str:
        (name, _, probability), *others = prediction.classes
        file = str(prediction.file)
        if sys.stdout.isatty() and len(file) > self.width:
            file = "…" + file[1 - self.width :]
        rest = ", ".join(
            f"{readable(name)} {100 * probability:.1f}%" for name, _, probability in others if probability >= LEAST
        )
        return f"{file:{self.width}}  {readable(name):20}  {100 * probability:4.1f}%  {rest}".rstrip()
