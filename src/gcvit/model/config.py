"""What a GC ViT is made of: one frozen, validated dataclass."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2

Pair = tuple[int, int]
Windows = int | Sequence[int | Sequence[int]]

STAGES = 4
SMALLEST_SIDE = 32  # pixels: the last stage then sees one token
PUBLISHED_RATIOS = (32, 32, 16, 32)  # image side / window side of the published models: 224 -> 7, 7, 14, 7


@dataclass(frozen=True)
class GCViTConfig:
    """The architecture and the size it is set up for (paper, Table S.1 and section 2).

    dim: channels of the first stage; they double with each stage.
    depths: blocks per stage; blocks at even positions are local, at odd ones global (so at least 2 each).
    heads: attention heads per stage.
    mlp_ratio: hidden over outer channels of the MLPs.
    layer_scale: initial value of the learned per-channel scale on both branches of a block; None: no scale.
    drop_path: stochastic depth of the last block, 0..1; it grows linearly from 0 at the first.
    query_mbconvs: fused MBConvs that each stage's query generator owns.
    img_size: (height, width) in pixels that windows and poolings are chosen for; an int becomes a square.
        Any other input of at least 32 px a side works too.
    windows: (height, width) in tokens per stage, given as one int for all, an int per stage or pairs; None for the
        published ratios (224 -> 7, 7, 14, 7).
    in_chans: channels of the image.
    num_classes: outputs of the head; 0 gives the pooled features.
    head: False gives a backbone, without the final norm and the head.
    dropout, attention_dropout, head_dropout: rates after each linear of MLP and projection, on the attention
        weights, before the head; 0..1, all 0 in the published models.

    Raises ValueError, naming the field, when a value does not fit.
    """

    dim: int = 64
    depths: tuple[int, ...] = (3, 4, 19, 5)
    heads: tuple[int, ...] = (2, 4, 8, 16)
    mlp_ratio: float = 3.0
    layer_scale: float | None = None
    drop_path: float = 0.2
    query_mbconvs: tuple[int, ...] = (3, 2, 1, 1)
    img_size: Pair = (224, 224)
    windows: tuple[Pair, ...] | None = None
    in_chans: int = 3
    num_classes: int = 1000
    head: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    head_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("depths", "heads", "query_mbconvs"):
            value = _tuple(getattr(self, name))
            if len(value) != STAGES or not all(_is_count(v) for v in value):
                raise ValueError(f"{name} must be {STAGES} whole numbers of at least 1, one per stage, not {value}")
            object.__setattr__(self, name, value)
        for name in ("dim", "in_chans"):
            if not _is_count(getattr(self, name)):
                raise ValueError(f"{name} must be a whole number of at least 1, not {getattr(self, name)!r}")
        if not isinstance(self.num_classes, int) or self.num_classes < 0:
            raise ValueError(f"num_classes must be a whole number of at least 0, not {self.num_classes!r}")
        if min(self.depths) < 2:
            raise ValueError(f"depths must be at least 2 per stage, one local and one global block, not {self.depths}")
        for stage, (channels, heads) in enumerate(zip(self.channels, self.heads, strict=True)):
            if channels % heads:
                raise ValueError(f"stage {stage} has {channels} channels, which {heads} heads do not divide")
        for name in ("mlp_ratio", "drop_path", "dropout", "attention_dropout", "head_dropout"):
            if not isinstance(getattr(self, name), int | float):
                raise ValueError(f"{name} must be a number, not {getattr(self, name)!r}")
        if not isinstance(self.layer_scale, int | float | None):
            raise ValueError(f"layer_scale must be a number or None, not {self.layer_scale!r}")
        if int(self.dim * self.mlp_ratio) < 1:
            raise ValueError(f"mlp_ratio must give at least one hidden channel, not {self.mlp_ratio}")
        for name in ("drop_path", "dropout", "attention_dropout", "head_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and less than 1, not {getattr(self, name)}")
        object.__setattr__(self, "img_size", _img_size(self.img_size))
        object.__setattr__(self, "windows", _windows(self.windows))

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each stage: dim, 2 dim, 4 dim, 8 dim."""
        return tuple(self.dim * 2**stage for stage in range(STAGES))

    @property
    def map_sizes(self) -> tuple[Pair, ...]:
        """(height, width) in tokens of each stage's map at `img_size`: ceil(side / 4) to ceil(side / 32)."""
        height, width = self.img_size
        return tuple((ceil(height / 2**n), ceil(width / 2**n)) for n in range(2, 2 + STAGES))

    @property
    def stage_windows(self) -> tuple[Pair, ...]:
        """(height, width) of each stage's window in tokens: `windows`, or the published share of `img_size`,
        rounded up so that stages 3 and 4 are one window, but not below min(map side, 4)."""
        if self.windows is not None:
            return self.windows
        (height, width), rows = self.img_size, zip(PUBLISHED_RATIOS, self.map_sizes, strict=True)
        return tuple((max(ceil(height / r), min(h, 4)), max(ceil(width / r), min(w, 4))) for r, (h, w) in rows)

    @property
    def poolings(self) -> tuple[int, ...]:
        """Max-poolings in each stage's query generator: log2(map / window) on the image's short side, rounded
        (Figure 5), at most as many as there are MBConvs; the others run unpooled, as published."""
        short = 0 if self.img_size[0] <= self.img_size[1] else 1
        return tuple(
            min(max(round(log2(sides[short] / window[short])), 0), mbconvs)
            for sides, window, mbconvs in zip(self.map_sizes, self.stage_windows, self.query_mbconvs, strict=True)
        )


def check_sides(height: int, width: int) -> None:
    """Raise ValueError for an image that has less than one token in the last stage."""
    if height < SMALLEST_SIDE or width < SMALLEST_SIDE:
        raise ValueError(
            f"an image of {height}×{width} px (height×width) is too small: each side must have at least "
            f"{SMALLEST_SIDE} px; enlarge or pad it"
        )


def sides(size: int | str) -> Pair:
    """(height, width) in pixels of "224" or "800x1344". Raises ValueError for anything else."""
    words = str(size).split("x")
    if len(words) > 2 or not all(word.isdecimal() for word in words):
        raise ValueError(f"size must be a side in pixels or HEIGHTxWIDTH, such as 800x1344, not {size!r}")
    return int(words[0]), int(words[-1])


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _tuple(value: object) -> tuple:
    """The items of a list or tuple; none for anything else, which then has the wrong length."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _pair(value: object, what: str) -> Pair:
    pair = (value, value) if isinstance(value, int) else _tuple(value)
    if len(pair) != 2 or not all(_is_count(side) for side in pair):
        raise ValueError(f"{what} must be a whole number of at least 1 or a (height, width) pair, not {value!r}")
    return pair


def _img_size(value: object) -> Pair:
    height, width = _pair(value, "img_size")
    check_sides(height, width)
    return height, width


def _windows(value: object) -> tuple[Pair, ...] | None:
    if value is None:
        return None
    stages = (value,) * STAGES if isinstance(value, int) else _tuple(value)
    if len(stages) != STAGES:
        raise ValueError(f"windows must be one number or {STAGES}, one per stage, not {value!r}")
    return tuple(_pair(window, f"the window of stage {stage}") for stage, window in enumerate(stages))
