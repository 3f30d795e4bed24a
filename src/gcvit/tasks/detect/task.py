"""Detection: the description of the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gcvit.data.settings import CocoReading
from gcvit.engine.config import as_dict, override
from gcvit.errors import UserError
from gcvit.tasks.detect.config import DetectConfig
from gcvit.tasks.detect.recipes import RECIPES
from gcvit.tasks.detect.settings import OUTPUTS, DetectLooks, DetectPreprocessing, DetectTelling, HeadConfig
from gcvit.tasks.task import Data, HeldOut, Pictures, Task
from gcvit.wording import listed

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from gcvit.data.augment import Transform
    from gcvit.data.doctor import Health
    from gcvit.data.objects import Objects
    from gcvit.data.settings import PixelFormat
    from gcvit.data.shapes import Track
    from gcvit.engine.loop import Plan
    from gcvit.engine.objective import Loss
    from gcvit.model.config import Pair
    from gcvit.tasks.detect.data import Varied
    from gcvit.tasks.evaluation import Meter
    from gcvit.tasks.opened import Answer, Opened, Prepared
    from gcvit.tasks.target import Target
    from gcvit.weights.reading import Checkpoint
    from gcvit.weights.resolve import Format


class Detect(Task):
    """Boxes and masks of objects, by Mask R-CNN or Cascade Mask R-CNN on a GC ViT."""

    name = "detect"
    does = "finds objects, their boxes and masks"
    kind = "a detector on"
    config = DetectConfig
    recipes = RECIPES
    score = "box_ap"
    curves: ClassVar = {"box_ap": "box AP", "box_ap50": "box AP50", "mask_ap": "mask AP"}
    looks, telling, reading, preprocessing = DetectLooks, DetectTelling, CocoReading, DetectPreprocessing
    needs = "a folder in COCO's format, or its annotation file"
    at_once = 2
    example_pictures = "val"
    outputs = OUTPUTS

    def write_examples(self, folder: Path, counts: Mapping[str, int], size: int, seed: int, track: Track) -> None:
        from gcvit.data.scenes import write_coco_folders

        write_coco_folders(folder, counts, size, seed, track)

    def example_flags(self, config: DetectConfig) -> list[object]:
        return ["--size", config.scene_size]

    def training_flags(self, size: int) -> list[object]:
        usual = RECIPES["detect_small"].config()
        return [] if size == usual.size else ["--size", size, "--short", size]

    def open_data(self, config: DetectConfig) -> Data:  # type: ignore[override]
        from gcvit.tasks.detect.data import open_pictures

        return open_pictures(config)

    def open_held_out(self, config: DetectConfig, opened: Opened, *, share: bool) -> HeldOut:
        from gcvit.tasks.detect.data import open_held_out

        return open_held_out(config, opened, share=share)

    def divides(self, config: DetectConfig) -> bool:
        from gcvit.data.coco_pictures import is_divided

        return config.data is not None and is_divided(config.data)

    def recognises(self, path: Path) -> bool:
        from gcvit.data.coco_folders import find_coco

        if path.is_file() and path.suffix.lower() != ".json":
            return False
        try:
            find_coco(path)
        except UserError:
            return False
        return True

    def examine(
        self,
        path: Path,
        reading: CocoReading,
        pixels: PixelFormat,
        *,
        workers: int,
        progress: Callable[[int, int], None],
    ) -> tuple[Health, list[object]]:
        from gcvit.data.coco_doctor import examine_coco

        health = examine_coco(path, reading, pixels=pixels, workers=workers, progress=progress)
        return health, [] if health.masks else ["--no-masks"]

    def repair(self, path: Path, out: Path) -> list[str]:
        from gcvit.data.coco_folders import find_coco
        from gcvit.data.coco_repair import repair

        files = list(find_coco(path).parts.values())
        if len(files) > 1:
            raise UserError(f"--fix mends one annotation file; give one of {listed(list(map(str, files)))} as the data")
        return repair(files[0], out)

    def build(  # type: ignore[override]
        self, config: DetectConfig, data: Data, plan: Plan, checkpoint: Checkpoint | None
    ) -> tuple[Opened, list[str]]:
        from gcvit.tasks.detect.build import build_detector

        return build_detector(self, config, data, plan, checkpoint)

    def save(self, opened: Opened, model: nn.Module, folder: Path, metadata: Mapping[str, str]) -> None:
        from gcvit.tasks.headed import save_headed

        save_headed(opened, model, folder, metadata)

    def adopted(self, checkpoint: Checkpoint) -> Checkpoint:
        from gcvit.tasks.detect.mmdet import adopted

        return adopted(self, checkpoint)

    def open(self, checkpoint: Checkpoint) -> Opened:
        from gcvit.tasks.detect.detector import Detector
        from gcvit.tasks.headed import open_headed

        return open_headed(self, checkpoint, Detector, HeadConfig())

    def prepared(self, preprocessing: DetectPreprocessing) -> list[tuple[str, str]]:
        mean, std = (" ".join(f"{value:g}" for value in part) for part in (preprocessing.mean, preprocessing.std))
        return [
            ("input", f"short side {preprocessing.short} px, long side at most {preprocessing.long}, whole"),
            ("normalised", f"mean {mean}, std {std}"),
        ]

    def counted(self, model: nn.Module) -> nn.Module:
        from gcvit.tasks.detect.detector import Counted, Detector

        assert isinstance(model, Detector)
        return Counted(model, model.head_config.proposals, model.head_config.detections)

    def shown(self, opened: Opened, looks: DetectLooks) -> str:
        tiles = f", tiles of {looks.tiles} px too" if looks.tiles else ""
        head = {"mask-rcnn": "Mask R-CNN", "cascade": "Cascade Mask R-CNN"}[opened.model.head_config.head]  # type: ignore[index,union-attr]
        return f"{head} on {opened.name} at {opened.preprocessing.short} px{tiles}"

    def vary(self, config: DetectConfig, opened: Opened) -> Varied:  # type: ignore[override]
        from gcvit.tasks.detect.data import varied

        return varied(config, opened.preprocessing)

    def collate(self, items: list[Any]) -> Any:
        """Pictures keep their sizes, so a batch is a list of them, and one of what is in them."""
        return [image for image, _ in items], [targets for _, targets in items]

    def alike(self, config: DetectConfig) -> int | None:  # type: ignore[override]
        return config.batch_size

    def loss(self, config: DetectConfig, data: Data, plan: Plan) -> Loss:  # type: ignore[override]
        """The model's own, in fp32 but for the products of the backbone and the heads."""
        return lambda model, batch: model(*batch)

    def transform(self, opened: Opened, looks: DetectLooks) -> Transform:
        from gcvit.data.segment_transforms import EvalScene
        from gcvit.tasks.detect.inference import as_seen

        prepared = opened.preprocessing
        if looks.tiles:  # which are cut from the picture as it is
            return EvalScene(None, prepared.mean, prepared.std)
        return as_seen(prepared, exported=opened.exported)

    def target(self, target: Objects, columns: Sequence[int] | None) -> Objects:
        from gcvit.tasks.detect.data import numbered

        return numbered(target, columns)

    def meter(self, opened: Opened, looks: DetectLooks, pictures: Pictures, device: torch.device) -> Meter:
        from gcvit.tasks.detect.evaluation import DetectMeter

        return DetectMeter(opened, looks, pictures, device)

    def answer(
        self,
        opened: Opened,
        model: nn.Module,
        images: Tensor,
        pictures: Sequence[Prepared],
        looks: DetectLooks,
        telling: DetectTelling,
    ) -> list[Answer]:
        from gcvit.tasks.detect.answer import detect

        return detect(opened, model, images, pictures, looks, telling)

    def targets(self, opened: Opened, model: nn.Module, maps: Sequence[Tensor], size: Pair) -> list[Target]:
        """The class's logit of each object, at its box."""
        from gcvit.tasks.detect.detector import Detector
        from gcvit.tasks.target import Target

        assert isinstance(model, Detector)
        (picture,) = model.look_at(maps, size)
        proposals = model.rpn.proposals(picture.levels, size, training=False)
        found = model.roi_heads(picture.maps, size, proposals)
        return [
            Target(
                opened.names[label],
                score,
                partial(model.roi_heads.logit, picture.maps, found.boxes[number : number + 1], label),
                tuple(found.boxes[number].tolist()),
            )
            for number, (label, score) in enumerate(zip(found.labels.tolist(), found.scores.tolist(), strict=True))
        ]

    def exported(self, model: nn.Module) -> nn.Module:
        from gcvit.tasks.detect.detector import Detector
        from gcvit.tasks.detect.exported import PaddedDetections

        assert isinstance(model, Detector)
        return PaddedDetections(model)

    def exported_settings(self, model: Any) -> dict[str, Any]:
        return as_dict(model.head_config)

    def not_exported_as(self, to: Format, *, int8: bool) -> str | None:
        if to == "aot":
            return "torch computes its non-maximum suppression in Python, which such a file goes without; take onnx"
        return "boxes that are sorted, cut off and counted are not compared as numbers are" if int8 else None

    def paired(self, found: list[Tensor], expected: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        from gcvit.tasks.detect.exported import paired

        return paired(found, expected)

    def from_export(
        self, program: Callable[[Tensor], list[Tensor]], opened: Opened, size: Pair, settings: Mapping[str, Any]
    ) -> nn.Module:
        from gcvit.tasks.detect.exported import ExportedDetector

        if opened.classes is None or opened.palette is None or len(opened.classes) != len(opened.palette):
            raise UserError("it does not give each class a colour")
        return ExportedDetector(program, size, override(HeadConfig(), settings), len(opened.classes))

    def misfit(self, outputs: list[Tensor], classes: list[str] | None, settings: Mapping[str, Any]) -> str | None:
        from gcvit.tasks.detect.exported import misfit

        return misfit(outputs, override(HeadConfig(), settings))

    def size(self, preprocessing: DetectPreprocessing) -> Pair:
        return preprocessing.size or (preprocessing.short, preprocessing.short)

    def resized(self, preprocessing: DetectPreprocessing, size: Pair) -> DetectPreprocessing:
        return replace(preprocessing, short=min(size), long=max(max(size), preprocessing.long), size=size)

    def fitted(self, opened: Opened) -> Transform:
        from gcvit.tasks.detect.inference import as_seen
        from gcvit.tasks.pyramid import filled

        seen, size = as_seen(opened.preprocessing, exported=True), self.size(opened.preprocessing)
        return lambda picture: filled(seen(picture), size)
