"""What detection heads are made of, the two published forms and what a person may choose; how a detector is shown
pictures, what is told of them, and how they are prepared."""

from dataclasses import dataclass
from typing import Annotated, Literal

from gcvit.data.settings import PixelFormat
from gcvit.engine.fields import Probability, Range, check_fields, check_ranges, flag
from gcvit.errors import require
from gcvit.model.config import LARGEST_SIDE, SMALLEST_SIDE
from gcvit.tasks.config import HeadNorm
from gcvit.weights.preprocessing import IMAGENET_MEAN, IMAGENET_STD, check_statistics

Kind = Literal["mask-rcnn", "cascade"]
LONG_SIDE = 1333  # pixels of pictures at most, as published
SHORT_SIDES = tuple(range(480, 801, 32))  # and of their short side, in training
OUTPUTS = ("boxes", "scores", "labels", "counts", "masks")
"""What a file gives, padded with zeros to as many detections as the settings say: (batch, detections, 4), (batch,
detections), the same, (batch), and (batch, detections, 28, 28), which a detector without masks has not."""


@dataclass(frozen=True)
class Stage:
    """One box head with its mask head. iou: from which on a box stands for an object. stds: of the coder. weight: of
    its losses."""

    iou: float
    stds: tuple[float, float, float, float]
    weight: float = 1.0


@dataclass(frozen=True)
class Form:
    """Where the two published detectors differ.

    stages: each refines the boxes of the one before. closest: whether the boxes closest to an object belong to it even
    where others overlap them more. giou: learn boxes by the generalised IoU of what is decoded, times 10, instead of
    the distance of deltas. convs, linears: layers of a box head, before its two outputs. rpn_beta: of the RPN's
    smooth L1, up to which it is a square; 0: L1. border: pixels by which the anchors that train may stick out of the
    picture; None: any. train_proposals: of a picture, in training.
    """

    stages: tuple[Stage, ...]
    closest: bool
    giou: bool
    convs: int
    linears: int
    rpn_beta: float
    border: float | None
    train_proposals: int


FORMS: dict[Kind, Form] = {
    # He et al., 2017
    "mask-rcnn": Form(
        stages=(Stage(0.5, (0.1, 0.1, 0.2, 0.2)),),
        closest=True,
        giou=False,
        convs=0,
        linears=2,
        rpn_beta=0.0,
        border=None,
        train_proposals=1000,
    ),
    # Cai and Vasconcelos, 2018, with the heads of Liu et al., 2021 (Swin)
    "cascade": Form(
        stages=(
            Stage(0.5, (0.1, 0.1, 0.2, 0.2), 1.0),
            Stage(0.6, (0.05, 0.05, 0.1, 0.1), 0.5),
            Stage(0.7, (0.033, 0.033, 0.067, 0.067), 0.25),
        ),
        closest=False,
        giou=True,
        convs=4,
        linears=1,
        rpn_beta=1 / 9,
        border=0.0,
        train_proposals=2000,
    ),
}


@dataclass(frozen=True)
class HeadConfig:
    """The heads on the pyramid: proposals, boxes, masks."""

    head: Kind = "mask-rcnn"
    """mask-rcnn: one box head (He et al., 2017). cascade: three, each refining the boxes of the one before (Cai and
    Vasconcelos, 2018)."""
    masks: bool = True
    """Whether the model also says which pixels of its box an object covers."""
    norm: HeadNorm = "batch"
    """Of the cascade's box heads. batch: over all boxes that go through the model at once, on all GPUs together; group:
    within each box, for small batches."""
    channels: Annotated[int, Range(1, 4096)] = 256
    """Of the feature pyramid, the RPN and the heads' convolutions, 1 to 4,096."""
    hidden: Annotated[int, Range(1, 65_536)] = 1024
    """Features of a box head's linear layers, 1 to 65,536."""
    anchor_scale: Annotated[float, Range(0.5, 64)] = 8.0
    """Side of a square anchor in strides of its level (4 to 64 pixels), 0.5 to 64; smaller for tiny objects."""
    anchor_samples: Annotated[int, Range(2, 100_000)] = 256
    """Anchors of a picture that the RPN learns from in a step, 2 to 100,000; at most half of them on objects."""
    train_proposals: Annotated[int | None, Range(1, 100_000)] = None
    """Proposals of a picture in training, 1 to 100,000; none: as published, 1,000 for Mask R-CNN, 2,000 for a
    cascade."""
    box_samples: Annotated[int, Range(4, 100_000)] = 512
    """Boxes of a picture that each box head learns from in a step, 4 to 100,000; at most a quarter of them on
    objects."""
    proposals: Annotated[int, Range(1, 100_000)] = 1000
    """Proposals of a picture in evaluation and prediction, 1 to 100,000. On a CPU they take most of the time: fewer
    are faster, and miss objects where there are many."""
    min_score: Probability = 0.05
    """Detections with a higher score than this are told."""
    nms: Probability = 0.5
    """Of two detections of one class whose IoU is higher than this, the surer one is told."""
    detections: Annotated[int, Range(1, 100_000)] = 100
    """Detections of a picture at most, 1 to 100,000; COCO's figures take 100."""

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        check_fields(self)

    @property
    def form(self) -> Form:
        return FORMS[self.head]


@dataclass(frozen=True)
class DetectLooks:
    """How a detector is shown a picture."""

    tiles: Annotated[int | None, Range(SMALLEST_SIDE, LARGEST_SIDE)] = None
    """also look at large pictures in overlapping tiles of so many pixels a side, for small objects; none: whole only"""
    proposals: Annotated[int | None, Range(1, 100_000)] = None
    """boxes looked into; fewer are faster on a CPU, and miss objects where there are many; none: the model's own"""
    max_detections: Annotated[int | None, Range(1, 100_000)] = None
    """detections of a picture at most; none: the model's own, 100 as COCO has it"""

    def __post_init__(self) -> None:
        """Raises UserError for what cannot be."""
        check_ranges(self, flag)


@dataclass(frozen=True)
class DetectTelling:
    """What is told of a picture."""

    min_score: Annotated[float, Range(0, 1)] = 0.3
    """least score of the objects that are told, 0 to 1"""

    def __post_init__(self) -> None:
        """Raises UserError for what cannot be."""
        check_ranges(self, flag)


@dataclass(frozen=True)
class DetectPreprocessing:
    """How a detector's pictures are prepared.

    short, long: the picture is as large as may be with its short and its long side up to these, in pixels.
    size: (height, width) in pixels of an exported file's images, in which the picture is as large as may be; None: as
        `short` says, squares.
    mean, std: per channel, of values in 0..1; as many as the pictures have channels.
    value_range: the numbers in picture files that are black and white; None: 0 and the greatest of their type.
    """

    short: int = 800
    long: int = LONG_SIDE
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Raises UserError, naming the field, for a value out of range."""
        sides = {"short": (self.short,), "long": (self.long,), "size": self.size or ()}
        for key, values in sides.items():
            fit = all(1 <= side <= LARGEST_SIDE for side in values)
            require(fit, key, getattr(self, key), f"from 1 to {LARGEST_SIDE} pixels")
        check_statistics(self.mean, self.std)
        PixelFormat(len(self.mean), self.value_range)  # refuses what cannot be
