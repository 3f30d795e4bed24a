"""What a task says of itself. Everything around tasks – training, evaluation, prediction, reports, files, commands,
export – exists once, asks a `Task`, and knows none by name.

A description is read before anything is computed, for the flags of a command: so each method imports what it calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from gcvit.errors import UserError
from gcvit.weights.preprocessing import Preprocessing
from gcvit.wording import by, classes_named

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from gcvit.data.augment import Transform
    from gcvit.data.doctor import Health
    from gcvit.data.pixels import RGB, Picture
    from gcvit.data.settings import PixelFormat
    from gcvit.data.shapes import Track
    from gcvit.engine.loop import Plan
    from gcvit.engine.objective import Loss
    from gcvit.model.config import Pair
    from gcvit.tasks.config import RunConfig
    from gcvit.tasks.evaluation import Meter
    from gcvit.tasks.opened import Answer, Opened, Prepared
    from gcvit.tasks.recipe import Recipe
    from gcvit.tasks.target import Target
    from gcvit.weights.reading import Checkpoint
    from gcvit.weights.resolve import Format


class Pictures(Protocol):
    """Pictures with what is true of them; item i is (picture, target). classes: names by label, if there are any."""

    classes: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Picture, Any]: ...

    def name(self, index: int) -> str:
        """What a person calls the picture."""


@runtime_checkable
class Shaped(Protocol):
    """Pictures whose shape is known before they are read."""

    def aspect(self, index: int) -> float:
        """Width / height of a picture."""


@dataclass(frozen=True)
class Data:
    """What a run trains on and what it holds out.

    name: what a person calls the data. classes, palette: names and colours by label, where the task has any. remarks:
    what a person should know of how they were read.
    """

    train: Pictures
    held_out: Pictures
    name: str
    classes: list[str] = field(default_factory=list)
    palette: list[RGB] | None = None
    remarks: list[str] = field(default_factory=list)


class HeldOut(NamedTuple):
    """Pictures to measure a model on. described: which they are, in words. columns: for each class of the pictures the
    model's output that stands for it; None: that of its own number. remarks: as in `Data`."""

    pictures: Pictures
    described: str
    columns: list[int] | None = None
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class NoSettings:
    """A task without settings of some kind."""


class Task(ABC):
    """The description of a task: one object, without state.

    A new one is a subclass in a folder of its own and a line in `gcvit.tasks.TASKS`.
    """

    name: ClassVar[str]
    """What it is called in commands, checkpoints and configurations."""
    does: ClassVar[str]
    """What a model of this task does, to follow "train a model that"."""
    kind: ClassVar[str] = ""
    """What stands on the backbone, to come before its name: "UPerNet on"."""
    config: ClassVar[type[RunConfig]]
    recipes: ClassVar[Mapping[str, Recipe]]
    """By name; the first one trains on built-in pictures."""
    score: ClassVar[str]
    """The metric that picks the best weights."""
    curves: ClassVar[Mapping[str, str]] = {}
    """Metrics (shares of one) to draw over a run, and their names in the legend."""
    looks: ClassVar[type] = NoSettings
    """Frozen dataclass: how a model is shown a picture, in evaluation and prediction."""
    telling: ClassVar[type] = NoSettings
    """Frozen dataclass: what is told of a picture in prediction."""
    preprocessing: ClassVar[type] = Preprocessing
    """Frozen dataclass: how pictures are prepared; it is kept with a model."""
    reading: ClassVar[type] = NoSettings
    """Frozen dataclass: how files of data are read; `config` has one as its field `reading`."""
    needs: ClassVar[str] = ""
    """What --data must be, to follow "add --data PATH,"; none: the task has built-in pictures alone."""
    saves_answers: ClassVar[bool] = True
    """Whether `gcvit predict` saves pictures without being asked to."""
    at_once: ClassVar[int] = 8
    """Pictures that go through the model together in evaluation and prediction, where nobody says otherwise."""
    sized: ClassVar[bool] = False
    """Whether evaluation and prediction take pictures at one chosen size (`--size`)."""

    example_pictures: ClassVar[str] = ""
    """Where the held-out pictures lie in a folder that `gcvit data shapes --as NAME` writes; none: it writes none."""
    own_recipe: ClassVar[tuple[str, ...]] = ()
    """The recipe for a person's own pictures; none: the first."""

    # Data.

    def write_examples(self, folder: Path, counts: Mapping[str, int], size: int, seed: int, track: Track) -> None:
        """Write built-in pictures as `open_data` reads them: counts["train"] and counts["val"] of them, `size` pixels a
        side. Raises UserError for a folder that is not empty."""
        raise UserError(f"there are no built-in pictures for the task {self.name}")

    def example_flags(self, config: Any) -> list[object]:
        """The flags with which `gcvit data shapes` writes pictures like the built-in ones of a run."""
        return []

    def training_flags(self, size: int) -> list[object]:
        """The flags with which the first recipe trains on pictures of this size in pixels."""
        return []

    @abstractmethod
    def open_data(self, config: RunConfig) -> Data:
        """Open what a run trains on and holds out. Raises UserError for what cannot be trained on."""

    def open_held_out(self, config: Any, opened: Opened, *, share: bool) -> HeldOut:
        """Open what `opened` is measured on: `config.data`, or built-in pictures.

        share: where the data have no validation part, take only what training with this configuration held out.
        Raises UserError for what cannot be measured on, and for classes that the model does not know.
        """
        data = self.open_data(config)
        return HeldOut(data.held_out, data.name, remarks=data.remarks)

    def divides(self, config: Any) -> bool:
        """Whether training holds out a share of the pictures in `config.data`, since these have no validation part."""
        return False

    def recognises(self, path: Path) -> bool:
        """Whether what lies at `path` looks like this task's data, at a glance."""
        return False

    def examine(
        self, path: Path, reading: Any, pixels: PixelFormat, *, workers: int, progress: Callable[[int, int], None]
    ) -> tuple[Health, list[object]]:
        """Read all data at `path`, as a model of these pixels does. Returns what was found, and the flags with which
        `gcvit train` takes them, beside those for `reading` and `pixels`. Raises UserError where there is no doctor."""
        raise UserError(f"there is no doctor for the data of the task {self.name}")

    def repair(self, path: Path, out: Path) -> list[str]:
        """Write a repaired copy of the annotations at `path`; returns what was changed. Raises UserError where there is
        nothing that could be."""
        raise UserError(f"--fix: data for the task {self.name} have no annotation file to repair; mend the files")

    # Models.

    def settled(self, config: RunConfig, checkpoint: Checkpoint | None) -> RunConfig:
        """The configuration with everything in it that depends on the checkpoint which the run starts from, if any."""
        return config

    @abstractmethod
    def build(
        self, config: RunConfig, data: Data, plan: Plan, checkpoint: Checkpoint | None
    ) -> tuple[Opened, list[str]]:
        """Make the model that a run starts from, and say what a person should know about it.

        checkpoint: that of `starting_weights`. Raises UserError for weights of another model, and for settings that do
        not go together.
        """

    @abstractmethod
    def save(self, opened: Opened, model: nn.Module, folder: Path, metadata: Mapping[str, str]) -> None:
        """Write `model`, of which everything else is as in `opened`, so that `open` reads it; each file in one step.

        metadata: for the head of the weights' file.
        """

    def adopted(self, checkpoint: Checkpoint) -> Checkpoint:
        """A file of another program with a model of this task as if we had written it; any other as it is. Raises
        UserError, naming it, for one that is damaged."""
        return checkpoint

    @abstractmethod
    def open(self, checkpoint: Checkpoint) -> Opened:
        """Make the model of a checkpoint, in eval mode. Raises UserError for what is none of this task's."""

    def output(self, opened: Opened) -> str:
        """What the model tells of a picture, for a person."""
        return classes_named(opened.classes or [])

    def prepared(self, preprocessing: Any) -> list[tuple[str, str]]:
        """How pictures are prepared, (name, value) lines for a person."""
        how = {"center": "short side fitted", "squash": "both sides fitted"}.get(preprocessing.crop_mode, "padded")
        share = f"middle {100 * preprocessing.crop_pct:g}% kept"
        mean, std = (" ".join(f"{value:g}" for value in part) for part in (preprocessing.mean, preprocessing.std))
        return [
            ("input", f"{by(preprocessing.size)} px, {preprocessing.interpolation}, {how}, {share}"),
            ("normalised", f"mean {mean}, std {std}"),
        ]

    def fold(self, model: nn.Module) -> nn.Module:
        """Make a frozen copy for inference, in eval mode."""
        return model.fold()  # type: ignore[operator]

    def counted(self, model: nn.Module) -> nn.Module:
        """What is computed of one picture whatever is in it, as a module of images, for counting."""
        return model

    def shown(self, opened: Opened, looks: Any) -> str:
        """The model, and how it is shown pictures, in words."""
        return opened.name

    def looks_dict(self, opened: Opened, looks: Any) -> dict[str, Any]:
        """How the model is shown pictures, as plain JSON types."""
        return asdict(looks)

    # Training.

    @abstractmethod
    def vary(self, config: RunConfig, opened: Opened) -> Callable[[Any, Any], Any]:
        """Make what turns a training picture and its target, at random, into what is put into a batch."""

    def collate(self, items: list[Any]) -> Any:
        """Make a batch of what `vary` gives: tensors in any nest of tuples, lists, dicts and dataclasses, which goes to
        the device as it is."""
        from torch.utils.data import default_collate

        return default_collate(items)

    def alike(self, config: RunConfig) -> int | None:
        """How many training images of one orientation follow each other, a divisor of batch_size, where the pictures
        know their shape (`Shaped`); None: they come as they come."""
        return None

    @abstractmethod
    def loss(self, config: RunConfig, data: Data, plan: Plan) -> Loss:
        """Make the loss of a batch, in parts. Raises UserError for a plan that it cannot work with."""

    # Measuring.

    def training_looks(self, config: RunConfig) -> Any:
        """How a model is shown held-out pictures while it is trained."""
        return self.looks()

    def transform(self, opened: Opened, looks: Any) -> Transform:
        """Make what turns a picture into what goes through the model, (channels, height, width); it can be pickled."""
        from gcvit.data.augment import eval_transform

        return eval_transform(**opened.preprocessing.geometry())

    def target(self, target: Any, columns: Sequence[int] | None) -> Any:
        """Make of a picture's target a tensor, numbered as the model's outputs are (see `HeldOut`)."""
        import torch

        return torch.as_tensor(target)

    @abstractmethod
    def meter(self, opened: Opened, looks: Any, pictures: Pictures, device: torch.device) -> Meter:
        """Make what measures a model on `pictures`, batch after batch."""

    # Prediction.

    @abstractmethod
    def answer(
        self, opened: Opened, model: nn.Module, images: Tensor, pictures: Sequence[Prepared], looks: Any, telling: Any
    ) -> list[Answer]:
        """What a folded model says of pictures of one size; images: them, stacked on the model's device."""

    # Explanation.

    def targets(self, opened: Opened, model: nn.Module, maps: Sequence[Tensor], size: Pair) -> list[Target]:
        """What can be asked about one picture of `size` (height, width), the likeliest first.

        maps: the pyramid of its GC ViT, with gradients. Raises UserError where nothing can be asked.
        """
        raise UserError(f"a model that {self.does} is not explained yet")

    # Export.

    output_axes: ClassVar[int] = 2
    """Of the tensor that an exported model gives, where it gives one."""
    outputs: ClassVar[tuple[str, ...]] = ()
    """Names of what an exported model gives, as far as it has them; none: as usual."""

    def exported(self, model: nn.Module) -> nn.Module:
        """Make of a folded model a function of images to a tensor, or a list of them, as it is exported."""
        return model

    def exported_settings(self, model: Any) -> dict[str, Any]:
        """What `from_export` must know of a model, as plain JSON types."""
        return {}

    def not_exported_as(self, to: Format, *, int8: bool) -> str | None:
        """Why models are not written in a format, or None."""
        return None

    def paired(self, found: list[Tensor], expected: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """An exported file's outputs and those of its model, of the same images, so that they can be compared."""
        return found, expected

    def from_export(
        self, program: Callable[[Tensor], list[Tensor]], opened: Opened, size: Pair, settings: Mapping[str, Any]
    ) -> nn.Module:
        """Make of an exported function, which takes images of `size`, what takes the model's place in `opened`.

        Raises UserError where `opened` or `settings` lack what the task needs.
        """
        from gcvit.tasks.opened import Program

        return Program(program)

    def misfit(self, outputs: list[Tensor], classes: list[str] | None, settings: Mapping[str, Any]) -> str | None:
        """What is wrong with what an exported file gives of one image, by the classes and settings in its sidecar."""
        if len(outputs) != 1 or outputs[0].ndim != self.output_axes:
            return "does not give what its sidecar says"
        number = outputs[0].shape[1]
        if classes is not None and number != len(classes):
            return f"gives {number} classes, its sidecar names {len(classes)}"
        return None

    def size(self, preprocessing: Any) -> Pair:
        """(height, width) in pixels of what goes through the model at once, or through an exported one."""
        return preprocessing.size

    def resized(self, preprocessing: Any, size: Pair) -> Any:
        """The preprocessing with another such size."""
        return replace(preprocessing, size=size)

    def fitted(self, opened: Opened) -> Transform:
        """Make what turns a picture into what an exported model takes, at `size`."""
        return self.transform(opened, self.looks())
