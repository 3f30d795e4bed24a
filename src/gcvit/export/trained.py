"""A trained model as it is exported: folded, with outputs that are plain tensors, and what is known of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import pad

from gcvit.data.augment import eval_transform
from gcvit.data.label_maps import RGB
from gcvit.data.segment_transforms import EvalScene
from gcvit.export.sidecar import Task
from gcvit.factory import open_model
from gcvit.model.config import Pair
from gcvit.model.gcvit import GCViT
from gcvit.tasks.classify.names import class_names
from gcvit.tasks.segment.saving import ScenePreprocessing, is_segmenter, open_segmenter
from gcvit.tasks.segment.segmenter import SegmentationModel
from gcvit.tasks.sources import checkpoint_path
from gcvit.weights.loading import find
from gcvit.weights.preprocessing import Preprocessing

Part = Literal["model", "backbone"]
Transform = Callable[[Image.Image], Tensor]


@dataclass(frozen=True)
class Trained:
    """A model that is ready to be exported: images (batch, in_chans, height, width) to a tensor or four maps.

    The rest is what its `Sidecar` will say. preprocessing: at the checkpoint's own size.
    """

    model: nn.Module
    task: Task
    name: str
    in_chans: int
    classes: list[str] | None
    palette: list[RGB] | None
    preprocessing: Preprocessing | ScenePreprocessing
    source: str

    @property
    def size(self) -> Pair:
        """Height and width in pixels that the checkpoint wants."""
        settings = self.preprocessing
        return settings.size if isinstance(settings, Preprocessing) else settings.crop

    def resized(self, size: Pair) -> "Trained":
        """The same for images of another size; the windows stay."""
        settings = self.preprocessing
        if isinstance(settings, Preprocessing):
            return replace(self, preprocessing=replace(settings, size=size))
        return replace(self, preprocessing=replace(settings, crop=size))

    def transform(self) -> Transform:
        """From a picture to an image of `size`; of a segmentation model's, the middle, continued with zeros."""
        settings = self.preprocessing
        if isinstance(settings, Preprocessing):
            return eval_transform(**asdict(settings))
        scene = EvalScene(settings.resize, settings.mean, settings.std)
        return lambda picture: _middle(scene(picture), self.size)


class Logits(nn.Module):
    """What an exported segmentation model gives: logits (batch, classes, rows, columns), stride 4."""

    def __init__(self, model: SegmentationModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).logits


def open_trained(source: str, part: Part = "model") -> Trained:
    """Open a trained model, folded; it may be a classifier or a segmentation model.

    source: as `gcvit predict` takes it. part: "backbone" for the pyramid's four maps alone.
    Raises ValueError when it cannot be opened, and for a whole classifier without classes.
    """
    path = checkpoint_path(source)
    if (Path(path).exists() or "/" in path) and is_segmenter(find(path)):  # the published ones are classifiers
        return _segmenter(path, part)
    opened = open_model(path)
    model, config = opened.model, opened.model.config
    if part == "model" and not (config.head and config.num_classes):
        raise ValueError(f"{source} has no classes, only features; take --part backbone")
    return Trained(
        model=model.fold() if part == "model" else _headless(model).fold(),
        task="classify" if part == "model" else "backbone",
        name=opened.name,
        in_chans=config.in_chans,
        classes=class_names(opened) if part == "model" else None,
        palette=None,
        preprocessing=opened.preprocessing,
        source=opened.source,
    )


def _segmenter(path: str, part: Part) -> Trained:
    opened = open_segmenter(path)
    folded = opened.model.fold()
    backbone = folded.get_submodule("backbone")
    assert isinstance(backbone, GCViT)
    whole = part == "model"
    return Trained(
        model=Logits(folded) if whole else backbone,
        task="segment" if whole else "backbone",
        name=opened.name,
        in_chans=backbone.config.in_chans,
        classes=opened.classes if whole else None,
        palette=opened.palette if whole else None,
        preprocessing=opened.preprocessing,
        source=opened.source,
    )


def _headless(model: GCViT) -> GCViT:
    """The backbone that a classifier stands on."""
    backbone = GCViT(replace(model.config, head=False))
    state = model.state_dict()
    backbone.load_state_dict({name: state[name] for name in backbone.state_dict()})
    return backbone.eval()


def _middle(image: Tensor, size: Pair) -> Tensor:
    """The part of (channels, height, width) around its middle; zeros, the mean colour, right and below if it is
    smaller, as where windows slide."""
    height, width = size
    top, left = (max(0, (has - wanted) // 2) for has, wanted in zip(image.shape[1:], size, strict=True))
    image = image[:, top : top + height, left : left + width]
    return pad(image, (0, width - image.shape[2], 0, height - image.shape[1]))
