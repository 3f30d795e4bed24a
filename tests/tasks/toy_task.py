"""A task of its own, as anybody may add one: where the built-in shape lies. It is all that there is of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from gcvit import distributed
from gcvit.data.shapes import ShapesDataset
from gcvit.engine.loop import Plan
from gcvit.engine.settings import OptimConfig
from gcvit.model import GCViT
from gcvit.tasks.backbone import backbone_config
from gcvit.tasks.config import RunConfig
from gcvit.tasks.evaluation import Evaluation, Number, Unreadable
from gcvit.tasks.opened import Answer, Opened, Prepared
from gcvit.tasks.recipe import Recipe, recipes
from gcvit.tasks.task import Data, Pictures, Task
from gcvit.weights.hub import hub_config, model_config, preprocessing_of, write_model
from gcvit.weights.preprocessing import Preprocessing
from gcvit.weights.reading import Checkpoint


@dataclass(frozen=True)
class LocateConfig(RunConfig):
    model: str = "gcvit_pico"
    img_size: int = 32
    train_images: int = 48
    val_images: int = 12
    epochs: int | None = 2
    batch_size: int = 16
    flip: float = 0.5
    """Probability of a left-right flip in training."""
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=1e-3, warmup="0 steps", ema_decay=0.9))


class Shapes(ShapesDataset):
    """Item i is (picture, its shape's middle as shares of width and height)."""

    def __getitem__(self, index: int) -> tuple[Image.Image, Tensor]:
        x0, y0, x1, y1 = self.scene(index).objects[0].box
        return super().__getitem__(index)[0], torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2]) / self.size[0]


@dataclass(frozen=True)
class Located(Answer):
    middle: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        return {"file": self.file, "middle": list(self.middle)}

    def line(self) -> str:
        return "{:.0%} from the left, {:.0%} from the top".format(*self.middle)

    def draw(self) -> Image.Image:
        shown = self.picture.copy()
        x, y = (share * side for share, side in zip(self.middle, shown.size, strict=True))
        ImageDraw.Draw(shown).ellipse((x - 3, y - 3, x + 3, y + 3), outline="red")
        return shown


@dataclass(frozen=True)
class LocateEvaluation(Evaluation):
    distances: list[tuple[int, float]]

    @property
    def measured(self) -> int:
        return len(self.distances)

    @property
    def metrics(self) -> dict[str, float | None]:
        far = torch.tensor([distance for _, distance in self.distances])
        return {"near": (far < 0.25).double().mean().item(), "loss": far.square().mean().item()}

    def numbers(self) -> list[Number]:
        return [Number("near", f"{self.metrics['near']:.1%}", "within a quarter of the picture")]


@dataclass
class LocateMeter:
    pictures: Pictures
    rows: list[tuple[int, float]] = field(default_factory=list)

    def add(self, model: nn.Module, images: Tensor, targets: Tensor, positions: Sequence[int]) -> None:
        self.rows += zip(positions, (model(images).float() - targets).norm(dim=1).tolist(), strict=True)

    def evaluation(self, unreadable: list[Unreadable], seconds: float) -> LocateEvaluation:
        rows = sorted(row for share in distributed.gather(self.rows) for row in share)
        return LocateEvaluation(rows, pictures=self.pictures, unreadable=unreadable, seconds=seconds)


class Locate(Task):
    name, does = "locate", "finds the middle of a shape"
    config = LocateConfig
    recipes = recipes(Recipe("shapes", LocateConfig, does="The built-in shapes", cost="two seconds"))
    score = "near"
    curves: ClassVar = {"near": "near the middle"}

    def open_data(self, config: LocateConfig) -> Data:
        train = Shapes("train", config.train_images, config.img_size)
        return Data(train, Shapes("val", config.val_images, config.img_size), "the built-in shapes")

    def build(self, config: LocateConfig, data: Data, plan: Plan, start: Checkpoint | None) -> tuple[Opened, list[str]]:
        model = GCViT(backbone_config(config, config.img_size, num_classes=2))
        return Opened(self, model, config.model, Preprocessing(model.config.img_size, crop_pct=1.0)), []

    def save(self, opened: Opened, model: GCViT, folder: Path, metadata: Mapping[str, str]) -> None:
        content = {"task": self.name, "backbone": hub_config(model.config, opened.preprocessing, None)}
        write_model(model, folder, content, metadata)

    def open(self, checkpoint: Checkpoint) -> Opened:
        described, origin = checkpoint.hub_config["backbone"], checkpoint.origin
        model = GCViT(model_config(described, origin)).eval()
        model.load_state_dict(checkpoint.state)
        return Opened(self, model, "gcvit_pico", preprocessing_of(described), source=origin)

    def output(self, opened: Opened) -> str:
        return "the middle, as shares of width and height"

    def vary(self, config: LocateConfig, opened: Opened) -> Callable[[Image.Image, Tensor], tuple[Tensor, Tensor]]:
        prepare = self.transform(opened, None)

        def varied(picture: Image.Image, middle: Tensor) -> tuple[Tensor, Tensor]:
            image, (x, y) = prepare(picture), middle
            return (image.flip(2), torch.stack([1 - x, y])) if torch.rand(()) < config.flip else (image, middle)

        return varied

    def loss(self, config: LocateConfig, data: Data, plan: Plan) -> Callable[[nn.Module, Any], dict[str, Tensor]]:
        def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            across, down = (model(batch[0]) - batch[1]).square().mean(0)
            return {"across": across, "down": down}

        return loss

    def meter(self, opened: Opened, looks: Any, pictures: Pictures, device: torch.device) -> LocateMeter:
        return LocateMeter(pictures)

    def answer(
        self, opened: Opened, model: nn.Module, images: Tensor, pictures: Sequence[Prepared], looks: Any, telling: Any
    ) -> list[Answer]:
        found = model(images).float().tolist()
        return [Located(one.source, tuple(xy)) for one, xy in zip(pictures, found, strict=True)]


TOY = Locate()
