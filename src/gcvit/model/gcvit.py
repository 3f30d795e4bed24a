"""GC ViT: four stages of alternating local and global blocks (Figure 2)."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gcvit.errors import UserError
from gcvit.internals.of_torch import has_compiled_call, is_fake, transformed
from gcvit.kernels import cpu_attention
from gcvit.kernels.window_attention import applies
from gcvit.model.ablations import ATTENTION, DOWNSAMPLERS, STEMS, query_generator
from gcvit.model.attention import AttentionRecord, FixedBias, Query, RelativePositionBias, Through, TokensOrMap
from gcvit.model.config import STAGES, GCViTConfig, Pair, Windows
from gcvit.model.folding import fold
from gcvit.model.global_query import GlobalQuery
from gcvit.model.layers import MLP, DropPath, LayerScale, as_nchw, as_nhwc
from gcvit.model.windows import UNCUT, Layout, grid, merge, padding_mask, pieces_of, split

Images = Float[Tensor, "batch in_chans height width"]
Map = Float[Tensor, "batch channels rows columns"]
Position = tuple[int, int]  # (stage, block)
LARGE_BIAS = 2**17  # numbers, one for each window, head and pair of tokens; docs/results.md has what it was measured on


class Block(nn.Module):
    """Attention and MLP, each with a norm before it and a residual around it (Figure 6)."""

    def __init__(self, config: GCViTConfig, stage: int, position: int, drop_path: float) -> None:
        super().__init__()
        channels, heads, window = config.channels[stage], config.heads[stage], config.stage_windows[stage]
        self.kind = config.block_kinds[stage][position]

        def scale() -> nn.Module:
            return nn.Identity() if config.layer_scale is None else LayerScale(channels, config.layer_scale)

        self.norm1 = nn.LayerNorm(channels)
        self.attention = ATTENTION[self.kind](
            channels, heads, window, config.attention_dropout, config.dropout, config.position_bias
        )
        self.scale1 = scale()
        self.norm2 = nn.LayerNorm(channels)
        self.mlp: nn.Module = MLP(channels, int(channels * config.mlp_ratio), config.dropout)
        self.scale2 = scale()
        self.drop_path = DropPath(drop_path)

    def forward(
        self, tokens: TokensOrMap, query: Query | None, layout: Layout, record: AttentionRecord | None = None
    ) -> TokensOrMap:
        tokens = tokens + self.drop_path(self.scale1(self.attention(self.norm1(tokens), query, layout, record)))
        return tokens + self.drop_path(self.scale2(self.mlp(self.norm2(tokens))))


class Stage(nn.Module):
    """Local and global blocks in turn, on windows that are cut once and put together once.

    No block lets tokens of different windows meet, so the stage can stay in windows from its first block to its
    last; the image's other windows speak through the global query alone, computed from the stage's input. Where one
    kernel computes attention on the map, there is nothing to cut.
    `downsample`, which leads to the next stage, is called by the parent: the stage's map is its output before it.
    """

    blocks: Sequence[Block]

    def __init__(self, config: GCViTConfig, index: int, drop_path: Sequence[float]) -> None:
        super().__init__()
        self.window, self.masked = config.stage_windows[index], config.mask_padding
        self.grad_checkpointing = False
        self.shifted = "shifted" in config.blocks
        self.query = query_generator(config, index)
        self.blocks = nn.ModuleList(  # type: ignore[assignment]  # typed as what it holds
            Block(config, index, position, rate) for position, rate in enumerate(drop_path)
        )
        known = set(config.blocks) <= {"local", "global"} and all(b.attention.as_published for b in self.blocks)
        self.fusible = config.mask_padding and known
        self.downsample: nn.Module = nn.Identity()
        if index + 1 < STAGES:
            channels = config.channels[index]
            self.downsample = DOWNSAMPLERS[config.downsampler](channels, 2 * channels, config.squeeze_excite)

    def forward(
        self, x: Float[Tensor, "batch rows columns channels"], record: "StageRecord | None" = None
    ) -> Float[Tensor, "batch rows columns channels"]:
        size = (x.shape[1], x.shape[2])
        query = None if self.query is None else self.query(x)
        layout = self.layout(x, traced=record is not None and bool(record.attention))
        tokens = split(x, self.window) if layout.cut else x
        for position, block in enumerate(self.blocks):
            traced = None if record is None else record.attention.get(position)
            if traced is not None:
                tokens = block(tokens, query, layout, traced)
            elif self.grad_checkpointing and self.training:
                tokens = checkpoint(block, tokens, query, layout, use_reentrant=False)
            else:
                tokens = block(tokens, query, layout)
        if record is not None:
            record.query = query
        return merge(tokens, self.window, size) if layout.cut else tokens

    def layout(self, x: Float[Tensor, "batch rows columns channels"], *, traced: bool = False) -> Layout:
        """How the tokens of a map are to lie. traced: each window with a row for each token, as a trace shows them."""
        size = (x.shape[1], x.shape[2])
        if not traced and self.fused(x):
            return UNCUT
        if not traced and self.apart(x):
            return Layout(cut=False, pieces=pieces_of(size, self.window))
        outside = padding_mask(size, self.window, x.device)
        windows = grid(size, self.window) if self.shifted else None
        return Layout(outside, grid=windows) if self.masked else Layout(zeroed=outside, grid=windows)

    def fused(self, x: Float[Tensor, "batch rows columns channels"]) -> bool:
        """Whether one kernel computes this stage's attention on the map: where it `applies`, without gradients and
        without dropout, in the paper's design."""
        if not self.fusible:
            return False
        attention = self.blocks[0].attention
        if self.training and attention.attention_dropout > 0:
            return False
        if torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters())):
            return False
        if not applies(x, x.shape[-1] // attention.heads, self.window):
            return False
        return torch.compiler.is_compiling() or not transformed()

    def apart(self, x: Float[Tensor, "batch rows columns channels"]) -> bool:
        """Whether windows at the map's edges are computed apart, with the tokens that they have, and not padded like
        the others and masked: on a CPU, where large masked biases cost more than the attention that they are for, and
        small ones less than calls for each kind of window; in the paper's design, and where nothing is compiled."""
        if not self.fusible or not cpu_attention.eager(x) or is_fake(x) or has_compiled_call(self.blocks[0]):
            return False
        size, tokens, heads = (x.shape[1], x.shape[2]), prod(self.window), self.blocks[0].attention.heads
        padded = prod(grid(size, self.window)) * tokens
        return padded > prod(size) and heads * padded * tokens >= LARGE_BIAS

    def set_window(self, window: Pair, poolings: int) -> None:
        """Change the window and the number of poolings; bias tables are resized."""
        self.window = window
        for module in self.modules():
            if isinstance(module, GlobalQuery):
                module.window, module.poolings = window, poolings
        for block in self.blocks:
            bias = block.attention.bias
            assert not isinstance(bias, FixedBias)
            bias.resize(window)


class StageRecord:
    """What `trace` asks a stage to note down: its query, and the attention of the chosen blocks."""

    def __init__(self, blocks: Collection[int], through: Through) -> None:
        self.query: Tensor | None = None
        self.attention = {block: AttentionRecord(through) for block in sorted(blocks)}


@dataclass(frozen=True)
class Trace:
    """What the model did with a batch. Everything lies on the way to the logits, so that gradients reach it; attention
    only where `trace` was asked for it.

    logits: what `forward` returns, or None for a backbone.
    maps: what `pyramid` returns.
    queries: each stage's global query, (batch, heads, tokens, head_dim); tokens are the window's, row by row. None
        where no block has one; keys and values side by side where two generators make them.
    attention: for each chosen (stage, block), (batch, windows, heads, tokens, tokens): rows are queries and sum
        to 1; windows row by row over the map, tokens row by row in the window.
    logsumexp: of the same blocks, (batch, windows, heads, tokens): the logarithm of each row's sum of exponentials of
        its scores, by which what one query finds in different windows can be compared.
    values: of the same blocks, (batch, windows, heads, tokens, head_dim): what each token gives to those that attend to
        it, before the projection.
    """

    logits: Tensor | None
    maps: list[Tensor]
    queries: list[Tensor]
    attention: dict[Position, Tensor]
    logsumexp: dict[Position, Tensor]
    values: dict[Position, Tensor]


class GCViT(nn.Module):
    """Global Context Vision Transformer.

    Works at once on images of any height and width of at least 32 px; `config.img_size` and `config.windows` only
    choose the windows. Initialised as published: truncated normal of 0.02 on linear weights and bias tables,
    zeros on biases, torch's default on convolutions.
    """

    stages: Sequence[Stage]

    def __init__(self, config: GCViTConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = STEMS[config.stem](config.in_chans, config.dim, config.squeeze_excite)
        rates = iter(config.drop_path * i / (sum(config.depths) - 1) for i in range(sum(config.depths)))
        self.stages = nn.ModuleList(  # type: ignore[assignment]  # typed as what it holds
            Stage(config, index, list(islice(rates, depth))) for index, depth in enumerate(config.depths)
        )
        if config.head:
            self.norm = nn.LayerNorm(config.channels[-1])
            self.head_dropout = nn.Dropout(config.head_dropout)
            self.head: nn.Module = _linear_head(config)
        self.apply(_initialise)

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the pyramid's maps, the finest first."""
        return self.config.channels

    def forward(self, images: Images) -> Tensor | list[Tensor]:
        """Logits (batch, num_classes); pooled features (batch, 8 dim) with `num_classes=0`; for a backbone
        (`head=False`) what `pyramid` returns. Raises UserError for images below 32 px or with other channels."""
        maps = self.pyramid(images)
        return self.classify(maps[-1]) if self.config.head else maps

    def pyramid(self, images: Images) -> list[Map]:
        """The four stages' maps, before any final norm: NCHW views of NHWC memory with dim, 2 dim, 4 dim, 8 dim
        channels and sides of ceil(H / 4) to ceil(H / 32)."""
        return self._stages(images, [None] * len(self.stages))

    def trace(
        self, images: Images, blocks: str | Iterable[Position] | None = None, *, through: Through = False
    ) -> Trace:
        """Logits, maps and global queries, and the attention of `blocks`: (stage, block) pairs counted from 0, or
        "all". Attention weights are computed for these blocks only, beside the ordinary forward pass.

        through: compute these blocks from the weights that are returned, so that gradients of the logits reach them;
        the logits are then those of `forward` up to rounding. "values": the same for every block, whichever are
            chosen, but gradients stop at all queries, local and global: what then reaches the image came through values
            (and keys), never leaving a window but by convolutions.
        Raises UserError for a block that the model does not have.
        """
        everything = [(s, b) for s, depth in enumerate(self.config.depths) for b in range(depth)]
        if isinstance(blocks, str) and blocks != "all":
            raise UserError(f'blocks must be "all" or (stage, block) pairs, not {blocks!r}')
        chosen = everything if isinstance(blocks, str) else list(blocks or ())
        if unknown := [block for block in chosen if block not in everything]:
            raise UserError(f"no such (stage, block): {unknown}; the depths of this model are {self.config.depths}")
        if through == "values":
            chosen = everything
        records = [StageRecord({b for s, b in chosen if s == stage}, through) for stage in range(STAGES)]
        maps = self._stages(images, records)
        traced = {(s, b): found for s, record in enumerate(records) for b, found in record.attention.items()}
        return Trace(
            logits=self.classify(maps[-1]) if self.config.head else None,
            maps=maps,
            queries=[record.query for record in records if record.query is not None],
            attention={at: record.weights for at, record in traced.items() if record.weights is not None},
            logsumexp={at: record.logsumexp for at, record in traced.items() if record.logsumexp is not None},
            values={at: record.values for at, record in traced.items() if record.values is not None},
        )

    def _stages(self, images: Images, records: Sequence[StageRecord | None]) -> list[Map]:
        """The maps of as many stages, from the first, as there are records; nothing after them is computed."""
        maps: list[Map] = []
        for index, record in enumerate(records):
            # A stage starts from the map before it, so that gradients of what follows reach that map.
            x = self.stages[index - 1].downsample(as_nhwc(maps[-1])) if maps else self.stem(images)
            maps.append(as_nchw(self.stages[index](x, record)))
        return maps

    def classify(self, last: Map) -> Float[Tensor, "batch classes"]:
        """Logits from the last stage's map: norm, average over the picture, linear."""
        x = self.norm(as_nhwc(last)).mean((1, 2))
        return self.head(self.head_dropout(x))

    def fold(self) -> "GCViT":
        """A frozen copy for inference that computes the same with less work (see `gcvit.model.folding`)."""
        return fold(self)

    @property
    def folded(self) -> bool:
        """Whether this is a copy that `fold` made."""
        return isinstance(self.stages[0].blocks[0].attention.bias, FixedBias)

    def set_input_size(self, img_size: int | Pair | None = None, windows: Windows | None = None) -> None:
        """Choose windows and poolings anew, for `img_size` in pixels (None: as it is) and `windows` (None: the
        published share of `img_size`); learned bias tables are resized bicubically. Any input size works without
        it: this changes what a window is, not what is accepted. Resized tables are new parameters, so an optimiser
        is to be made afterwards. Raises UserError for a folded copy."""
        if self.folded:
            raise UserError("a folded copy has fixed windows; set the size on the model and fold it again")
        size = self.config.img_size if img_size is None else img_size
        self.config = replace(self.config, img_size=size, windows=windows)  # type: ignore[arg-type]
        for stage, window, poolings in zip(self.stages, self.config.stage_windows, self.config.poolings, strict=False):
            stage.set_window(window, poolings)

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh head for `num_classes` outputs; 0 for pooled features. Raises UserError for a backbone."""
        if not self.config.head:
            raise UserError("this is a backbone (head=False): it has no classifier to replace")
        self.config = replace(self.config, num_classes=num_classes)
        parameter = next(self.parameters())
        self.head = _linear_head(self.config).to(parameter.device, parameter.dtype)
        self.head.apply(_initialise).train(self.training)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """In training, keep only each block's input and compute the rest again in the backward pass."""
        for stage in self.stages:
            stage.grad_checkpointing = enable


def _linear_head(config: GCViTConfig) -> nn.Module:
    return nn.Linear(config.channels[-1], config.num_classes) if config.num_classes else nn.Identity()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, RelativePositionBias):
        nn.init.trunc_normal_(module.table, std=0.02)
