"""Classification: the description of the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from gcvit.errors import UserError
from gcvit.tasks.classify.config import ClassifyConfig
from gcvit.tasks.classify.recipes import RECIPES
from gcvit.tasks.classify.settings import ClassifyLooks, ClassifyTelling
from gcvit.tasks.task import Data, HeldOut, NoSettings, Pictures, Task
from gcvit.wording import by, plural

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from gcvit.data.doctor import Health
    from gcvit.data.settings import PixelFormat
    from gcvit.data.shapes import Track
    from gcvit.engine.loop import Plan
    from gcvit.model.config import Pair
    from gcvit.tasks.classify.data import Varied
    from gcvit.tasks.classify.loss import ClassifyLoss
    from gcvit.tasks.evaluation import Meter
    from gcvit.tasks.opened import Answer, Opened, Prepared
    from gcvit.tasks.target import Target
    from gcvit.weights.reading import Checkpoint


class Classify(Task):
    """One of several classes for each image."""

    name = "classify"
    does = "names what is in images"
    config = ClassifyConfig
    recipes = RECIPES
    score = "top1"
    curves: ClassVar = {"top1": "top-1", "top5": "top-5"}
    looks, telling = ClassifyLooks, ClassifyTelling
    needs = "a folder with train/CLASS/… and val/CLASS/…, or with CLASS/… to be divided"
    at_once = 64
    example_pictures = "val"
    own_recipe = ("small_images",)
    saves_answers = False
    sized = True

    def write_examples(self, folder: Path, counts: Mapping[str, int], size: int, seed: int, track: Track) -> None:
        from gcvit.data.shapes import write_class_folders

        write_class_folders(folder, counts, size, seed, track)

    def open_data(self, config: ClassifyConfig) -> Data:  # type: ignore[override]
        from gcvit.tasks.classify.data import open_images

        return open_images(config)

    def open_held_out(self, config: ClassifyConfig, opened: Opened, *, share: bool) -> HeldOut:
        from gcvit.tasks.classify.data import open_held_out
        from gcvit.tasks.classify.model import require_classes

        require_classes(opened)
        return open_held_out(config, opened, share=share)

    def divides(self, config: ClassifyConfig) -> bool:
        from gcvit.data.classify import is_divided

        return config.data is not None and is_divided(config.data)

    def examine(
        self,
        path: Path,
        reading: NoSettings,
        pixels: PixelFormat,
        *,
        workers: int,
        progress: Callable[[int, int], None],
    ) -> tuple[Health, list[object]]:
        from gcvit.data.classify_doctor import examine

        health = examine(path, pixels=pixels, workers=workers, progress=progress)
        unbalanced = any(finding.kind == "unbalanced classes" for finding in health.notes)
        return health, ["--class-weights", "balanced"] if unbalanced else []

    def settled(self, config: ClassifyConfig, checkpoint: Checkpoint | None) -> ClassifyConfig:  # type: ignore[override]
        from gcvit.tasks.classify.model import settled

        return settled(config, checkpoint)

    def build(  # type: ignore[override]
        self, config: ClassifyConfig, data: Data, plan: Plan, checkpoint: Checkpoint | None
    ) -> tuple[Opened, list[str]]:
        from gcvit.tasks.classify.model import build_classifier

        return build_classifier(self, config, data, checkpoint)

    def save(self, opened: Opened, model: nn.Module, folder: Path, metadata: Mapping[str, str]) -> None:
        from gcvit.tasks.classify.model import save_classifier

        save_classifier(opened, model, folder, metadata)

    def open(self, checkpoint: Checkpoint) -> Opened:
        from gcvit.tasks.classify.model import open_classifier

        return open_classifier(self, checkpoint)

    def output(self, opened: Opened) -> str:
        from gcvit.tasks.backbone import backbone_of

        if opened.classes is None:  # nobody knows their names
            return plural(backbone_of(opened.model).config.num_classes, "class", "es")
        return super().output(opened) or "features alone"

    def shown(self, opened: Opened, looks: ClassifyLooks) -> str:
        mirrored = ", mirror images too" if looks.tta == "flip" else ""
        return f"{opened.name} at {by(opened.preprocessing.size)} px{mirrored}"

    def vary(self, config: ClassifyConfig, opened: Opened) -> Varied:  # type: ignore[override]
        from gcvit.tasks.classify.data import Varied

        return Varied(config.augment, opened.preprocessing)

    def loss(self, config: ClassifyConfig, data: Data, plan: Plan) -> ClassifyLoss:  # type: ignore[override]
        from gcvit.tasks.classify.loss import ClassifyLoss

        return ClassifyLoss(config, data, plan)

    def target(self, target: int, columns: Sequence[int] | None) -> Tensor:
        import torch

        return torch.tensor(target if columns is None else columns[target])

    def meter(self, opened: Opened, looks: ClassifyLooks, pictures: Pictures, device: torch.device) -> Meter:
        from gcvit.tasks.classify.evaluation import ClassifyMeter

        return ClassifyMeter(opened, looks, pictures, device)

    def answer(
        self,
        opened: Opened,
        model: nn.Module,
        images: Tensor,
        pictures: Sequence[Prepared],
        looks: ClassifyLooks,
        telling: ClassifyTelling,
    ) -> list[Answer]:
        from gcvit.tasks.classify.answer import classify

        return classify(opened, model, images, pictures, looks, telling)

    def targets(self, opened: Opened, model: nn.Module, maps: Sequence[Tensor], size: Pair) -> list[Target]:
        """The logit of each class."""
        from gcvit.tasks.backbone import backbone_of
        from gcvit.tasks.classify.model import require_classes
        from gcvit.tasks.target import Target

        require_classes(opened)
        logits = backbone_of(model).classify(maps[-1])[0]
        shares = logits.detach().softmax(0).tolist()
        names = opened.classes or [f"class {number}" for number in range(len(shares))]
        found = [
            Target(name, share, partial(logits.select, 0, number))
            for number, (name, share) in enumerate(zip(names, shares, strict=True))
        ]
        return sorted(found, key=lambda target: -target.confidence)

    def exported(self, model: nn.Module) -> nn.Module:
        from gcvit.tasks.backbone import backbone_of

        if not backbone_of(model).config.num_classes:
            raise UserError("a model without classes (num_classes=0) gives features alone; take --part backbone")
        return model
