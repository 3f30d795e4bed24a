"""Semantic segmentation: the description of the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gcvit.data.settings import LabelReading
from gcvit.errors import UserError
from gcvit.tasks.segment.config import SegmentConfig
from gcvit.tasks.segment.recipes import RECIPES
from gcvit.tasks.segment.settings import ScenePreprocessing, SegmentLooks, SegmentTelling, UPerNetConfig
from gcvit.tasks.task import Data, HeldOut, Pictures, Task
from gcvit.wording import by

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from gcvit.data.augment import Transform
    from gcvit.data.doctor import Health
    from gcvit.data.segment_transforms import TrainScene
    from gcvit.data.settings import PixelFormat
    from gcvit.data.shapes import Track
    from gcvit.engine.loop import Plan
    from gcvit.model.config import Pair
    from gcvit.tasks.evaluation import Meter
    from gcvit.tasks.opened import Answer, Opened, Prepared
    from gcvit.tasks.segment.loss import SegmentLoss
    from gcvit.tasks.target import Target
    from gcvit.weights.reading import Checkpoint


class Segment(Task):
    """A class for every pixel, by UPerNet on a GC ViT."""

    name = "segment"
    does = "names every pixel"
    kind = "UPerNet on"
    config = SegmentConfig
    recipes = RECIPES
    score = "miou"
    curves: ClassVar = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy", "boundary_iou": "boundary IoU"}
    looks, telling, reading, preprocessing = SegmentLooks, SegmentTelling, LabelReading, ScenePreprocessing
    needs = "a folder with images/training, annotations/training and the same with validation"
    at_once = 4
    example_pictures = "images/validation"
    output_axes = 4

    def write_examples(self, folder: Path, counts: Mapping[str, int], size: int, seed: int, track: Track) -> None:
        from gcvit.data.scenes import write_segmentation_folders

        write_segmentation_folders(folder, counts, size, seed, track)

    def training_flags(self, size: int) -> list[object]:
        return [] if RECIPES["segment_small"].config().augment.crop == (size, size) else ["--crop", size, size]

    def example_flags(self, config: SegmentConfig) -> list[object]:
        return ["--size", min(config.augment.crop)]

    def open_data(self, config: SegmentConfig) -> Data:  # type: ignore[override]
        from gcvit.tasks.segment.data import open_scenes

        return open_scenes(config)

    def open_held_out(self, config: SegmentConfig, opened: Opened, *, share: bool) -> HeldOut:
        from gcvit.tasks.segment.data import open_held_out

        return open_held_out(config, opened, share=share)

    def divides(self, config: SegmentConfig) -> bool:
        from gcvit.data.segment import is_divided

        return config.data is not None and is_divided(config.data)

    def recognises(self, path: Path) -> bool:
        from gcvit.data.segment_folders import has_scenes

        return has_scenes(path)

    def examine(
        self,
        path: Path,
        reading: LabelReading,
        pixels: PixelFormat,
        *,
        workers: int,
        progress: Callable[[int, int], None],
    ) -> tuple[Health, list[object]]:
        from gcvit.data.segment_doctor import examine_scenes
        from gcvit.tasks.segment.data import crop_flags

        health = examine_scenes(path, reading, pixels=pixels, workers=workers, progress=progress)
        return health, crop_flags(health.sides)

    def build(  # type: ignore[override]
        self, config: SegmentConfig, data: Data, plan: Plan, checkpoint: Checkpoint | None
    ) -> tuple[Opened, list[str]]:
        from gcvit.tasks.segment.build import build_segmenter

        return build_segmenter(self, config, data, plan, checkpoint)

    def save(self, opened: Opened, model: nn.Module, folder: Path, metadata: Mapping[str, str]) -> None:
        from gcvit.tasks.headed import save_headed

        save_headed(opened, model, folder, metadata)

    def open(self, checkpoint: Checkpoint) -> Opened:
        from gcvit.tasks.headed import open_headed
        from gcvit.tasks.segment.segmenter import Segmenter

        return open_headed(self, checkpoint, Segmenter, UPerNetConfig())

    def prepared(self, preprocessing: ScenePreprocessing) -> list[tuple[str, str]]:
        fitted = "as they are" if preprocessing.resize is None else "to fit {}×{} px".format(*preprocessing.resize)
        mean, std = (" ".join(f"{value:g}" for value in part) for part in (preprocessing.mean, preprocessing.std))
        return [
            ("input", f"pictures {fitted}; trained on crops of {by(preprocessing.crop)} px"),
            ("normalised", f"mean {mean}, std {std}"),
        ]

    def shown(self, opened: Opened, looks: SegmentLooks) -> str:
        return f"{self.kind} {opened.name}, shown {looks.words(opened)}"

    def looks_dict(self, opened: Opened, looks: SegmentLooks) -> dict[str, Any]:
        used = looks.of(opened)
        window = {"window": list(used.window), "stride": list(used.steps)} if used.mode == "slide" else {}
        return {"mode": used.mode, **window, "scales": list(used.scales), "flip": used.flip}

    def vary(self, config: SegmentConfig, opened: Opened) -> TrainScene:  # type: ignore[override]
        from gcvit.tasks.segment.data import varied

        return varied(config.augment, opened.preprocessing)

    def loss(self, config: SegmentConfig, data: Data, plan: Plan) -> SegmentLoss:  # type: ignore[override]
        from gcvit.tasks.segment.loss import SegmentLoss

        return SegmentLoss(config.head.aux_weight)

    def training_looks(self, config: SegmentConfig) -> SegmentLooks:  # type: ignore[override]
        return SegmentLooks(mode=config.eval_mode)

    def transform(self, opened: Opened, looks: SegmentLooks) -> Transform:
        from gcvit.data.segment_transforms import EvalScene

        preprocessing = opened.preprocessing
        return EvalScene(preprocessing.resize, preprocessing.mean, preprocessing.std)

    def target(self, target: np.ndarray, columns: Sequence[int] | None) -> Tensor:
        import numpy as np
        import torch

        from gcvit.data.label_maps import IGNORED

        # The last entry is what the index -1 finds.
        labels = target if columns is None else np.array([*columns, IGNORED], dtype=np.int16)[target]
        return torch.from_numpy(np.ascontiguousarray(labels))

    def meter(self, opened: Opened, looks: SegmentLooks, pictures: Pictures, device: torch.device) -> Meter:
        from gcvit.tasks.segment.evaluation import SegmentMeter

        return SegmentMeter(opened, looks, pictures, device)

    def answer(
        self,
        opened: Opened,
        model: nn.Module,
        images: Tensor,
        pictures: Sequence[Prepared],
        looks: SegmentLooks,
        telling: SegmentTelling,
    ) -> list[Answer]:
        from gcvit.tasks.segment.answer import segment

        return segment(opened, model, images, pictures, looks, telling)

    def targets(self, opened: Opened, model: nn.Module, maps: Sequence[Tensor], size: Pair) -> list[Target]:
        """The sum of each class's logits over the pixels that are given to it (Seg-Grad-CAM, Vinogradova et al., 2020),
        or over all, where none is."""
        from gcvit.tasks.segment.segmenter import Segmenter
        from gcvit.tasks.target import Target

        assert isinstance(model, Segmenter)
        logits = model.heads(maps)[0]
        predicted = logits.detach().argmax(0)
        found = []
        for number, name in enumerate(opened.names):
            where = predicted == number
            share = float(where.double().mean())
            found.append(Target(name, share, partial(_summed, logits[number], where)))
        return sorted(found, key=lambda target: -target.confidence)

    def exported(self, model: nn.Module) -> nn.Module:
        from gcvit.tasks.segment.exported import Logits

        return Logits(model)

    def from_export(
        self, program: Callable[[Tensor], list[Tensor]], opened: Opened, size: Pair, settings: Mapping[str, Any]
    ) -> nn.Module:
        from gcvit.tasks.segment.exported import ExportedSegmenter

        if opened.classes is None or opened.palette is None or len(opened.classes) != len(opened.palette):
            raise UserError("it does not give each class a colour")
        return ExportedSegmenter(program, size)

    def size(self, preprocessing: ScenePreprocessing) -> Pair:
        return preprocessing.crop

    def resized(self, preprocessing: ScenePreprocessing, size: Pair) -> ScenePreprocessing:
        return replace(preprocessing, crop=size)

    def fitted(self, opened: Opened) -> Transform:
        from gcvit.tasks.segment.exported import middle

        scene = self.transform(opened, self.looks())
        return lambda picture: middle(scene(picture), self.size(opened.preprocessing))


def _summed(logits: Tensor, where: Tensor) -> Tensor:
    return logits[where].sum() if where.any() else logits.sum()
