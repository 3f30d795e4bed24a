"""The settings that a run has whatever its task; each task's own dataclass adds to them."""

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from gcvit.data.settings import PixelFormat
from gcvit.engine.fields import Range, check_fields
from gcvit.engine.settings import OptimConfig, Precision
from gcvit.errors import UserError, require
from gcvit.model.config import (
    LARGEST_SCALE,
    MOST_BLOCKS,
    MOST_CHANNELS,
    MOST_IN_CHANS,
    MOST_MBCONVS,
    MOST_MLP_RATIO,
    DownsamplerKind,
    Kind,
    Resize,
    StemKind,
)
from gcvit.tasks.ablations import ablation
from gcvit.weights.preprocessing import LARGEST_STATISTIC, usual_mean_std

BadImages = Literal["error", "skip"]
HeadNorm = Literal["batch", "group"]
Share = float | Literal["own"] | None
"""Of data without a validation part, what is measured: the share that training with this val_fraction held out; of a
run's own data what it held out, of other data everything; or everything."""
Four = tuple[int, int, int, int]
Rate = Annotated[float | None, Range(0, 1, but=(1,), said="from 0 to below 1, or none")]


@dataclass(frozen=True)
class ArchConfig:
    """Changes to the architecture of the model that is named; none: its own (`gcvit info MODEL` shows it)."""

    dim: Annotated[int | None, Range(1, MOST_CHANNELS)] = None
    """Channels of the first stage, 1 to 1,024; they double with each stage."""
    depths: Annotated[Four | None, Range(1, MOST_BLOCKS)] = None
    """Blocks in each stage, 2 to 128: local and global ones in turn."""
    heads: Annotated[Four | None, Range(1, 8 * MOST_CHANNELS)] = None
    """Attention heads in each stage, from 1; they divide its channels."""
    mlp_ratio: Annotated[float | None, Range(0, MOST_MLP_RATIO, but=(0,))] = None
    """Hidden over outer channels of the MLPs, above 0 to 16."""
    layer_scale: Annotated[float | Literal["off"] | None, Range(-LARGEST_SCALE, LARGEST_SCALE)] = None
    """First value of the learned scale on both branches of a block, -1,000 to 1,000; off: no scale."""
    query_mbconvs: Annotated[Four | None, Range(1, MOST_MBCONVS)] = None
    """Convolutional layers of each stage's query generator, 1 to 16."""
    blocks: tuple[Kind, Kind] | None = None
    """What blocks at even and odd positions attend with; this and the seven that follow are ablations
    (docs/ablations.md)."""
    stem: StemKind | None = None
    """conv: the paper's; patch: Swin's 4×4 patches."""
    downsampler: DownsamplerKind | None = None
    """mbconv: the paper's; others of Table 5."""
    squeeze_excite: bool | None = None
    """Whether the fused MBConvs have squeeze-and-excite."""
    query_convolutions: bool | None = None
    """Whether the query generators have their convolutions; their poolings stay."""
    query_resize: Resize | None = None
    """How a query that is not as large as the window becomes so."""
    position_bias: bool | None = None
    """Whether attention has a relative position bias."""
    mask_padding: bool | None = None
    """Whether what sticks out of the map is masked; otherwise it is attended to as zeros."""
    dropout: Rate = None
    """Rate after each linear layer of MLP and projection, from 0 to below 1."""
    attention_dropout: Rate = None
    """Rate on the attention weights, from 0 to below 1."""
    head_dropout: Rate = None
    """Rate before a classifier's head, from 0 to below 1."""

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        check_fields(self)

    def changes(self) -> dict[str, Any]:
        """The fields of `GCViTConfig` that are changed."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return found | ({"layer_scale": None} if self.layer_scale == "off" else {})


@dataclass(frozen=True)
class RunConfig:
    """What every task's run is made of: the model to start from, the data, the length, and how it is run."""

    model: str = "gcvit_nano"
    """Name of the model or backbone (`gcvit info` lists them)."""
    pretrained: bool = False
    """Start from the published classification weights of that model."""
    weights: str | None = None
    """Start from this checkpoint: a run's folder, a file, a hub folder or id, or a model's name for its published
    weights."""
    img_size: Annotated[int | tuple[int, int] | None, Range(32, 8192)] = None
    """Side, or height and width, in pixels, 32 to 8,192, that windows are chosen for; none: the model's own."""
    windows: Annotated[Four | None, Range(1, 512)] = None
    """Window side in tokens per stage, 1 to 512; none: the published share of img_size."""
    drop_path: Rate = None
    """Stochastic depth of the last block, from 0 to below 1; none: the model's own."""
    ablation: str | None = None
    """An ablation of the paper's, laid over the model (docs/ablations.md names them); none: the paper's design."""
    arch: ArchConfig = field(default_factory=ArchConfig)
    freeze_stages: Annotated[int, Range(0, 4, said="from 0 to 4")] = 0
    """Stages, from the first, that keep the weights that they start from; the stem stays with the first. 0 to 4."""
    grad_checkpointing: bool = False
    """Keep less for the backward pass and compute it again: slower, with a fraction of the memory."""

    in_chans: Annotated[int, Range(1, MOST_IN_CHANS)] = 3
    """Channels of the pictures, 1 to 4,096. 3: RGB; 1: grey; any other number: all bands of files that have as many."""
    value_range: Annotated[tuple[float, float] | None, Range(-1e30, 1e30)] = None
    """The numbers in picture files that are black and white (`gcvit doctor` measures them); none: 0 and the greatest
    that their type can hold."""
    mean: Annotated[tuple[float, ...] | None, Range(-LARGEST_STATISTIC, LARGEST_STATISTIC)] = None
    """Of each channel, black 0 to white 1, which is subtracted (`gcvit doctor` measures it); none: the weights' own, or
    ImageNet's."""
    std: Annotated[tuple[float, ...] | None, Range(0, LARGEST_STATISTIC, but=(0,))] = None
    """Deviation of each channel, which is divided by; none: as for mean."""
    data: str | None = None
    """Folder or archive with the images; none: the built-in ones."""
    val_fraction: Annotated[float, Range(0, 1, but=(0, 1), said="above 0, below 1")] = 0.1
    """Share of the images that is held out where the data have no validation part, above 0, below 1."""
    train_images: Annotated[int, Range(1, 1_000_000)] = 8000
    """Number of built-in training images, 1 to 1,000,000."""
    val_images: Annotated[int, Range(1, 1_000_000)] = 1000
    """Number of built-in held-out images, 1 to 1,000,000."""
    bad_images: BadImages = "error"
    """What a training image that cannot be read does: error stops the run; skip puts another image in its place and
    lists it in quarantine.jsonl."""
    max_bad_images: Annotated[float, Range(0, 1, said="a share, 0 to 1")] = 0.01
    """Share of the training images that may be skipped before the run stops, 0 to 1."""

    epochs: Annotated[int | None, Range(1, 1_000_000)] = None
    """Passes over the training images, 1 to 1,000,000; none: the run is counted in steps."""
    steps: Annotated[int | None, Range(1, 100_000_000)] = None
    """Updates of the weights in all, 1 to 100,000,000; none: the run is counted in epochs."""
    eval_every: Annotated[int, Range(1, 100_000_000)] = 1
    """Epochs, or in a run that is counted in steps, steps from one evaluation to the next, 1 to 100,000,000; the end is
    always evaluated."""
    batch_size: Annotated[int, Range(1, 1_000_000)] = 128
    """Images per update of the weights, over all processes and passes, 1 to 1,000,000."""
    accumulate: Annotated[int, Range(1, 1_000_000)] = 1
    """Forward passes per update and process, which divide the batch; more of them need less memory."""
    checkpoint_minutes: Annotated[float, Range(0, 1_000_000)] = 15.0
    """Minutes from one checkpoint to the next, 0 to 1,000,000; an evaluation and a signal to stop save one in any
    case."""
    keep_checkpoints: Annotated[int, Range(1, 10_000)] = 2
    """Checkpoints to go on from that are kept, the newest ones, 1 to 10,000."""
    tensorboard: bool = False
    """Also write the curves for TensorBoard (the extra `tensorboard`)."""
    seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    """Same seed, same result on the same machine: exactly on the CPU, on a GPU up to rounding. 0 to 2^63 - 1."""
    workers: Annotated[int, Range(0, 1024)] = 0
    """Processes that load images, 0 to 1,024; 0: the training process itself. The result does not depend on it."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N."""
    precision: Precision = "auto"
    """Of products in the forward pass; auto: bf16 on a GPU that has it, fp32 elsewhere."""
    compile: bool = False
    """Compile the model's blocks for training: slow to start, faster on a GPU."""

    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        check_fields(self)
        if self.ablation is not None:
            ablation(self.ablation)
        if self.pretrained and self.weights:
            raise UserError("pretrained and weights are two starting points; give one of them, or --no-pretrained too")
        for key in ("mean", "std"):
            values = getattr(self, key)
            fits = values is None or len(values) == self.in_chans
            require(fits, key, values, f"as many numbers as in_chans ({self.in_chans})")
        assert self.pixels  # refuses what cannot be
        if (self.epochs is None) == (self.steps is None):
            raise UserError(
                f"a run is counted in epochs or in steps, and epochs is {self.epochs}, steps {self.steps}; set one of "
                "them and the other to none"
            )
        self.optim.check_lengths(steps=self.steps, epochs=self.epochs)

    @property
    def pixels(self) -> PixelFormat:
        """How picture files are read."""
        return PixelFormat(self.in_chans, self.value_range)

    def normalised(self, mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, Any]:
        """Mean, std and value_range of the model's preprocessing; mean, std: those of its weights, if they fit."""
        if len(mean) != self.in_chans:
            mean, std = usual_mean_std(self.in_chans)
        return {"mean": self.mean or mean, "std": self.std or std, "value_range": self.value_range}

    @property
    def unit(self) -> Literal["epoch", "step"]:
        """What the run is counted in."""
        return "epoch" if self.steps is None else "step"

    @property
    def free(self) -> tuple[str, ...]:
        """Settings that a run which goes on may change without being another one.

        (Another number of passes mixes and drops other things, as another device does, but keeps the order of the
        images. The stretches of a run that is counted in steps end where it is evaluated.)
        """
        return (
            *("workers", "device", "compile", "accumulate", "grad_checkpointing", "checkpoint_minutes"),
            *("keep_checkpoints", "tensorboard", "bad_images", "max_bad_images"),
            *(("eval_every",) if self.steps is None else ()),
        )

    @property
    def places(self) -> tuple[str, ...]:
        """Settings that say where something lies. Another place is another run, unless it has only moved."""
        return ("data",)
