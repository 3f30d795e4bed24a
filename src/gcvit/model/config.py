"""What a GC ViT is made of: one frozen, validated dataclass."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, log2
from typing import Literal, get_args

from gcvit.errors import UserError, require

Pair = tuple[int, int]
Windows = int | Sequence[int | Sequence[int]]

# What a block attends with. All but the first two are ablations: windows shifted as in Swin, and Table S.2, where the
# generator's tokens are no queries but values or keys and values (`gcvit.model.ablations`).
Kind = Literal[
    "local",
    "global",
    "shifted",
    "global_v",
    "global_v_projected",
    "global_kv",
    "global_kv_two_generators",
    "global_kv_same",
]
StemKind = Literal["conv", "patch"]
DownsamplerKind = Literal["mbconv", "conv_pool", "pool_conv", "patch_merging"]
Resize = Literal["bicubic", "bilinear", "nearest"]
WITHOUT_QUERY: tuple[Kind, ...] = ("local", "shifted")
TWO_GENERATORS: Kind = "global_kv_two_generators"
# The fields that are a part of the design, with what each may be; the first is the paper's.
DESIGN: dict[str, tuple[object, ...]] = {
    "stem": get_args(StemKind),
    "downsampler": get_args(DownsamplerKind),
    "squeeze_excite": (True, False),
    "query_convolutions": (True, False),
    "query_resize": get_args(Resize),
    "position_bias": (True, False),
    "mask_padding": (True, False),
}

STAGES = 4
SMALLEST_SIDE = 32  # pixels: the last stage then sees one token
PUBLISHED_RATIOS = (32, 32, 16, 32)  # image side / window side of the published models: 224 -> 7, 7, 14, 7

# Far above the published models, and low enough for a number in a stranger's file not to exhaust a machine.
LARGEST_SIDE = 2**14  # pixels
LARGEST_WINDOW = LARGEST_SIDE // min(PUBLISHED_RATIOS)  # tokens a side
MOST_CHANNELS = 1024  # of the first stage; the largest published model has 192
MOST_BLOCKS = 128  # of a stage; 29
MOST_MBCONVS = 16  # 3
MOST_MLP_RATIO = 16  # 3
MOST_CLASSES = 1_000_000
MOST_IN_CHANS = 4096
LARGEST_SCALE = 1000  # 1e-5


@dataclass(frozen=True)
class GCViTConfig:
    """The architecture and the size it is set up for (paper, Table S.1 and section 2).

    dim: channels of the first stage, at most 1024; they double with each stage.
    depths: blocks per stage, 2 to 128 each; blocks at even positions are local, at odd ones global.
    heads: attention heads per stage; they divide its channels.
    mlp_ratio: hidden over outer channels of the MLPs, at most 16.
    layer_scale: initial value of the learned per-channel scale on both branches of a block, at most 1000 either way;
        None: no scale.
    drop_path: stochastic depth of the last block, 0..1; it grows linearly from 0 at the first.
    query_mbconvs: fused MBConvs that each stage's query generator owns, 1 to 16.
    img_size: (height, width) in pixels that windows and poolings are chosen for, 32 to 16384; an int becomes a square.
        Any other input of at least 32 px a side works too.
    windows: (height, width) in tokens per stage, 1 to 1024, given as one int for all, an int per stage or pairs; None
        for the published ratios (224 -> 7, 7, 14, 7).
    in_chans: channels of the image, at most 4096.
    num_classes: outputs of the head, at most a million; 0 gives the pooled features.
    head: False gives a backbone, without the final norm and the head.
    dropout, attention_dropout, head_dropout: rates after each linear of MLP and projection, on the attention
        weights, before the head; 0..1, all 0 in the published models.

    The rest is for ablations (`docs/ablations.md`); as it stands it is the paper's design.
    blocks: what blocks at even and at odd positions attend with, two of `Kind`.
    stem: "conv" as in section 2, or "patch", Swin's 4×4 patches.
    downsampler: "mbconv" as in Figure 3; the others of Table 5: "conv_pool", the same without its MBConv and with
        max-pooling in place of the stride; "pool_conv", pooled first; "patch_merging" as in Swin.
    squeeze_excite: whether fused MBConvs have it, here and in the query generators.
    query_convolutions: False leaves the query generators their poolings alone.
    query_resize: how a query that is not as large as the window becomes so: "bicubic", "bilinear" or "nearest".
    position_bias: whether attention has the b of Eq. 6.
    mask_padding: False sets what sticks out of the map to 0 before attention, as the published dense code does, and
        lets it be attended to.

    Raises UserError, naming the field, when a value does not fit.
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
    blocks: tuple[Kind, Kind] = ("local", "global")
    stem: StemKind = "conv"
    downsampler: DownsamplerKind = "mbconv"
    squeeze_excite: bool = True
    query_convolutions: bool = True
    query_resize: Resize = "bicubic"
    position_bias: bool = True
    mask_padding: bool = True

    def __post_init__(self) -> None:
        for name, least, most in (("depths", 2, MOST_BLOCKS), ("query_mbconvs", 1, MOST_MBCONVS)):
            self._check_stages(name, least, most)
        for name, least, most in (
            ("dim", 1, MOST_CHANNELS),
            ("in_chans", 1, MOST_IN_CHANS),
            ("num_classes", 0, MOST_CLASSES),
        ):
            value = getattr(self, name)
            require(is_count(value, least, most), name, value, f"a whole number from {least} to {most:,}")
        self._check_stages("heads", 1, self.channels[-1])
        for stage, (channels, heads) in enumerate(zip(self.channels, self.heads, strict=True)):
            if channels % heads:
                raise UserError(f"stage {stage} has {channels} channels, which {heads} heads do not divide")
        ratio, scale = self.mlp_ratio, self.layer_scale
        require(
            is_number(ratio) and 0 < ratio <= MOST_MLP_RATIO, "mlp_ratio", ratio, f"above 0, at most {MOST_MLP_RATIO}"
        )
        require(int(self.dim * ratio) >= 1, "mlp_ratio", ratio, "large enough for at least one hidden channel")
        fits = scale is None or (is_number(scale) and abs(scale) <= LARGEST_SCALE)
        require(fits, "layer_scale", scale, f"a number of at most {LARGEST_SCALE} either way, or None")
        for name in ("drop_path", "dropout", "attention_dropout", "head_dropout"):
            value = getattr(self, name)
            require(is_number(value) and 0 <= value < 1, name, value, "a number, at least 0 and less than 1")
        require(isinstance(self.head, bool), "head", self.head, "true or false")
        object.__setattr__(self, "img_size", _pair(self.img_size, "img_size", LARGEST_SIDE))
        check_sides(*self.img_size)
        object.__setattr__(self, "windows", _windows(self.windows))
        object.__setattr__(self, "blocks", _blocks(self.blocks))
        for name, choices in DESIGN.items():
            value = getattr(self, name)
            require(type(value) is type(choices[0]) and value in choices, name, value, _one_of(choices))

    def _check_stages(self, name: str, least: int, most: int) -> None:
        value = _tuple(getattr(self, name))
        fits = len(value) == STAGES and all(is_count(v, least, most) for v in value)
        require(fits, name, getattr(self, name), f"{STAGES} whole numbers from {least} to {most}, one per stage")
        object.__setattr__(self, name, value)

    @property
    def block_kinds(self) -> tuple[tuple[Kind, ...], ...]:
        """What each block of each stage attends with: `blocks` in turn."""
        return tuple(tuple(self.blocks[position % 2] for position in range(depth)) for depth in self.depths)

    @property
    def plain(self) -> bool:
        """Whether this is the paper's design, in whatever size."""
        return not self.design

    @property
    def design(self) -> list[str]:
        """What differs from the paper's design, in words: "blocks local, global_v", "stem patch"."""
        blocks = [] if self.blocks == ("local", "global") else [f"blocks {', '.join(self.blocks)}"]
        return blocks + [f"{name} {getattr(self, name)}" for name, d in DESIGN.items() if getattr(self, name) != d[0]]

    @property
    def generators(self) -> int:
        """Query generators of each stage: one, two, or none where no block attends with its tokens."""
        return 2 if TWO_GENERATORS in self.blocks else int(not set(self.blocks) <= set(WITHOUT_QUERY))

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
    """Raise UserError for an image that has less than one token in the last stage."""
    if height < SMALLEST_SIDE or width < SMALLEST_SIDE:
        raise UserError(
            f"an image of {height}×{width} px (height×width) is too small: each side must have at least "
            f"{SMALLEST_SIDE} px; enlarge or pad it"
        )


def sides(size: int | str) -> Pair:
    """(height, width) in pixels of "224" or "800x1344". Raises UserError for anything else, and for a side below
    SMALLEST_SIDE or above LARGEST_SIDE."""
    words = str(size).split("x")
    fits = len(words) <= 2 and all(
        word.isdecimal() and len(word) < 10 and SMALLEST_SIDE <= int(word) <= LARGEST_SIDE for word in words
    )
    expected = f"a side in pixels or HEIGHTxWIDTH, such as 800x1344, from {SMALLEST_SIDE} to {LARGEST_SIDE:,} a side"
    require(fits, "size", size, expected)
    return int(words[0]), int(words[-1])


def is_count(value: object, least: int, most: int) -> bool:
    """Whether a value, of whatever type, is a whole number within bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_number(value: object) -> bool:
    """Whether a value, of whatever type, is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -inf < value < inf


def _tuple(value: object) -> tuple:
    """The items of a list or tuple; none for anything else, which then has the wrong length."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _pair(value: object, what: str, most: int) -> Pair:
    pair = (value, value) if isinstance(value, int) else _tuple(value)
    fits = len(pair) == 2 and all(is_count(side, 1, most) for side in pair)
    require(fits, what, value, f"a whole number from 1 to {most} or a (height, width) pair")
    return pair


def _windows(value: object) -> tuple[Pair, ...] | None:
    if value is None:
        return None
    stages = (value,) * STAGES if isinstance(value, int) else _tuple(value)
    require(len(stages) == STAGES, "windows", value, f"one number or {STAGES}, one per stage")
    return tuple(_pair(window, f"the window of stage {stage}", LARGEST_WINDOW) for stage, window in enumerate(stages))


def _blocks(value: object) -> tuple[Kind, Kind]:
    kinds, found = get_args(Kind), _tuple(value)
    require(len(found) == 2 and all(kind in kinds for kind in found), "blocks", value, f"two, each {_one_of(kinds)}")
    even, odd = found
    if TWO_GENERATORS in found and even != odd and not {even, odd} & set(WITHOUT_QUERY):
        raise UserError(f"{TWO_GENERATORS} goes with {' or '.join(WITHOUT_QUERY)} alone, not with {even} and {odd}")
    return even, odd


def _one_of(choices: Sequence[object]) -> str:
    words = [str(choice).lower() for choice in choices]
    return f"{', '.join(words[:-1])} or {words[-1]}"
