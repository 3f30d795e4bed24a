"""What a person may set about comparisons: of speed, of a model's budget and growth, of designs trained in small."""

from dataclasses import dataclass
from typing import Annotated, Literal

from gcvit.engine.fields import Range, check_fields
from gcvit.errors import UserError, require
from gcvit.model.config import LARGEST_SIDE, SMALLEST_SIDE, Pair, sides
from gcvit.tasks.detect.settings import Kind

TABLES = ("1", "2", "3", "4", "5", "S.1", "S.2", "S.3", "S.4", "open", "context")
TaskName = Literal["classify", "segment", "detect"]
PuzzleName = Literal["select", "copy", "copy_empty"]
ArmName = Literal[
    "gcvit", "gcvit_no_squeeze", "kv", "kv_no_squeeze", "v", "v_no_squeeze", "swin_4", "swin_8", "full", "local"
]


@dataclass(frozen=True)
class SpeedConfig:
    """Compare the speed of GC ViTs with timm's and with other models, in turns."""

    models: tuple[str, ...] = ()
    """Written NAME[:FORM]…, with timm/ before a name of timm's; the first is the one that the others are compared
    with. Left out: timm's gcvit_tiny and ours. Forms: folded, channels_last, sdpa, compiled, blocks, cudagraph;
    torch-export, onnx, openvino, aot; int8 with onnx and openvino."""
    peers: bool = False
    """Add timm's gcvit_tiny, Swin-T, ConvNeXt-T and ViT-S where they are missing."""
    forms: tuple[str, ...] = ()
    """Forms for every model, such as compiled."""
    batch_sizes: Annotated[tuple[int, ...], Range(1, 65_536)] = (1, 8)
    """Images in a batch, each of these in turn."""
    size: int | str | None = None
    """Pixels: a side, or HEIGHTxWIDTH; at least 32 a side. Left out: 224, of detectors 800x1344."""
    part: Literal["model", "backbone", "mask-rcnn", "cascade"] = "model"
    """backbone: without final norm and head, the stages' maps. mask-rcnn, cascade: detectors, our heads on each model,
    and torchvision/maskrcnn_resnet50_fpn_v2 as it is; 1,000 boxes and 100 objects a picture."""
    windows: Annotated[tuple[int, int, int, int] | None, Range(1, LARGEST_SIDE)] = None
    """Our models' windows in tokens a side, stage by stage; left out: the published share of the size, of detectors
    that of 512."""
    mode: Literal["inference", "train"] = "inference"
    """A forward pass, or a training step: forward, loss, backward, AdamW; without drop path."""
    precision: Literal["fp32", "bf16", "pure-bf16"] = "fp32"
    """bf16: autocast over fp32 weights, as in training; pure-bf16: weights and images too."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:1."""
    rounds: Annotated[int, Range(1, 1_000_000)] = 10
    """Turns of each model."""
    turn_seconds: Annotated[float, Range(0, 3_600)] = 0.3
    """Least length of a turn: a fast model takes several steps in it."""
    threads: Annotated[int | None, Range(1, 1_024)] = None
    """CPU threads; left out: as many as torch chooses."""
    same_weights: bool = True
    """Give GC ViTs of one architecture the same weights and stop if their outputs differ."""

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        check_fields(self)
        require(len(self.batch_sizes) > 0, "batch_sizes", self.batch_sizes, "one or more")
        assert self.sides  # refuses what cannot be
        if self.heads is not None and self.precision == "pure-bf16":
            raise UserError("detectors compute losses and boxes in fp32: --precision fp32 or bf16")
        if self.mode == "train" and (self.part == "backbone" or self.precision == "pure-bf16"):
            raise UserError("training is measured on whole models over fp32 weights: --part model, fp32 or bf16")

    @property
    def heads(self) -> Kind | None:
        """Of detectors, if it is them that are compared."""
        return self.part if self.part in ("mask-rcnn", "cascade") else None

    @property
    def sides(self) -> Pair:
        """(height, width) in pixels."""
        usual = 224 if self.heads is None else "800x1344"
        return sides(usual if self.size is None else self.size)


@dataclass(frozen=True)
class BudgetConfig:
    """Where the time of a GC ViT's forward pass has to go, and where it does."""

    batch_size: Annotated[int, Range(1, 65_536)] = 8
    """Images in a batch."""
    size: int | str = 224
    """Pixels: a side, or HEIGHTxWIDTH such as 800x1344; at least 32 a side."""
    part: Literal["model", "backbone"] = "model"
    """backbone: without final norm and head."""
    windows: Annotated[tuple[int, int, int, int] | None, Range(1, LARGEST_SIDE)] = None
    """Windows in tokens a side, stage by stage; left out: the published share of the size."""
    precision: Literal["fp32", "bf16", "pure-bf16"] = "fp32"
    """bf16: autocast over fp32 weights, as in training; pure-bf16: weights and images too."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:1."""
    steps: Annotated[int, Range(1, 1_000_000)] = 20
    """Timed forward passes."""
    threads: Annotated[int | None, Range(1, 1_024)] = None
    """CPU threads, of the model and of the floors; left out: as many as torch chooses."""
    scale: Annotated[int, Range(1, 64)] = 1
    """Divides the matrices and arrays that the floors are measured with; above 1 for a first look only."""

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        check_fields(self)
        assert self.sides  # refuses what cannot be

    @property
    def sides(self) -> Pair:
        """(height, width) in pixels."""
        return sides(self.size)


@dataclass(frozen=True)
class ComplexityConfig:
    """Raises UserError, naming the setting, for a value out of range."""

    model: str = "gcvit_tiny"
    """one of ours (`gcvit info` lists them)"""
    sizes: Annotated[tuple[int, ...], Range(SMALLEST_SIDE, LARGEST_SIDE)] = (112, *range(224, 2017, 224), 2048)
    """sides of square images in pixels, at least three; counted"""
    measured_up_to: Annotated[int, Range(0, LARGEST_SIDE)] = 0
    """the largest side at which time and memory are measured too; 0: none. A GPU takes all, two cores 1,120"""
    device: str = "cpu"
    """where they are measured: auto, cpu, cuda or cuda:N"""
    threads: Annotated[int | None, Range(1, 1_024)] = None
    """CPU threads; none: as many as torch chooses"""

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        check_fields(self)
        require(len(set(self.sizes)) >= 3, "sizes", self.sizes, "at least three, to fit a line through")


@dataclass(frozen=True)
class AblationBudget:
    """What every run gets."""

    steps: Annotated[int | None, Range(1, 100_000_000)] = None
    """updates of the weights; none: 500 for classify, 1200 for segment, 300 for detect: 1 to 2 minutes of a core"""
    batch_size: Annotated[int | None, Range(2, 1_000_000)] = None
    """pictures a step; none: the small recipe's, 32 for classify and 8 for the others"""
    lr: Annotated[float | None, Range(0, 1000, but=(0,))] = None
    """peak learning rate; none: 5e-4 for classify, the small recipe's for the others"""
    size: Annotated[int | None, Range(64, 1024)] = None
    """side in pixels of what the model sees, a multiple of 32; none: 64 for classify, 96 for segment, 128 for detect"""
    dim: Annotated[int, Range(16, 256)] = 16
    """GC ViT's width, a multiple of 16; Swin's is half as much again; 64 is the paper's"""
    deep: bool = False
    """as many blocks as in the paper, 19 and 6 in stage 3, not 10 and 2"""

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        check_fields(self)
        require(self.dim % 16 == 0, "dim", self.dim, "a multiple of 16")
        require(self.size is None or self.size % 32 == 0, "size", self.size, "a multiple of 32")


@dataclass(frozen=True)
class PuzzleBudget:
    """What every arm gets."""

    steps: Annotated[int, Range(1, 10_000_000)] = 500
    """updates of the weights; all distances are learned at once, from new pictures in every step"""
    batch_size: Annotated[int, Range(1, 65_536)] = 4
    """pictures a step, with 15 targets each"""
    lr: Annotated[float, Range(0, 1000, but=(0,))] = 3e-3
    """peak learning rate of AdamW: 10% warm-up, then a cosine to 0"""
    dim: Annotated[int, Range(16, 1024)] = 32
    """channels, a multiple of 16, which are a head's"""
    scenes: Annotated[int, Range(16, 1_000_000)] = 256
    """held-out scenes a run, each measured with every cue; with few none may have a target three windows away"""
    long: bool = False
    """the long form: four stages that see the pictures at 256 pixels, not one that sees them at 64; for a GPU"""

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        check_fields(self)
        require(self.dim % 16 == 0, "dim", self.dim, "a multiple of 16")
