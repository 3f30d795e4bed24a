"""The class that timm builds: the same model, with the same state-dict names, under timm's contract."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from timm.layers import register_notrace_module
from torch import Tensor, nn

from gcvit.errors import UserError
from gcvit.model import GCViT as Model
from gcvit.model import GCViTConfig
from gcvit.model.ablations import DOWNSAMPLERS, STEMS
from gcvit.model.config import STAGES, DownsamplerKind, Pair, Resize, StemKind, Windows
from gcvit.model.gcvit import Images, Map, Stage
from gcvit.model.layers import as_nchw, as_nhwc
from gcvit.weights.loading import load_weights

POOLS = ("avg", "")

# Symbolic tracing takes these as they are: what they do depends on the image's size.
for part in (*STEMS.values(), *DOWNSAMPLERS.values(), Stage):
    register_notrace_module(part)


class GCViT(Model):
    """GC ViT as timm builds it. The constructor's words are timm's; they fill a `GCViTConfig`, which says what they
    mean and which values raise UserError. Further words raise TypeError.

    global_pool: "avg" for logits, "" for logits at every position, (batch, classes, rows, columns), which average to
        the logits.
    device, dtype: where and in what precision the parameters are made; None as torch's defaults are.
    """

    pretrained_cfg: dict[str, Any]  # the row of `default_cfgs` or of config.json that timm built it from
    pretrained_model_args: dict[str, Any]  # the constructor's words in config.json

    def __init__(
        self,
        in_chans: int = GCViTConfig.in_chans,
        num_classes: int = GCViTConfig.num_classes,
        global_pool: str = "avg",
        img_size: int | Pair = GCViTConfig.img_size,
        windows: Windows | None = GCViTConfig.windows,
        dim: int = GCViTConfig.dim,
        depths: Sequence[int] = GCViTConfig.depths,
        heads: Sequence[int] = GCViTConfig.heads,
        mlp_ratio: float = GCViTConfig.mlp_ratio,
        layer_scale: float | None = GCViTConfig.layer_scale,
        query_mbconvs: Sequence[int] = GCViTConfig.query_mbconvs,
        drop_rate: float = GCViTConfig.head_dropout,
        drop_path_rate: float = GCViTConfig.drop_path,
        proj_drop_rate: float = GCViTConfig.dropout,
        attn_drop_rate: float = GCViTConfig.attention_dropout,
        blocks: Sequence[str] = GCViTConfig.blocks,
        stem: StemKind = GCViTConfig.stem,
        downsampler: DownsamplerKind = GCViTConfig.downsampler,
        squeeze_excite: bool = GCViTConfig.squeeze_excite,
        query_convolutions: bool = GCViTConfig.query_convolutions,
        query_resize: Resize = GCViTConfig.query_resize,
        position_bias: bool = GCViTConfig.position_bias,
        mask_padding: bool = GCViTConfig.mask_padding,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        config = GCViTConfig(
            dim=dim,
            depths=depths,  # type: ignore[arg-type]
            heads=heads,  # type: ignore[arg-type]
            mlp_ratio=mlp_ratio,
            layer_scale=layer_scale,
            drop_path=drop_path_rate,
            query_mbconvs=query_mbconvs,  # type: ignore[arg-type]
            img_size=img_size,  # type: ignore[arg-type]
            windows=windows,  # type: ignore[arg-type]
            in_chans=in_chans,
            num_classes=num_classes,
            dropout=proj_drop_rate,
            attention_dropout=attn_drop_rate,
            head_dropout=drop_rate,
            blocks=blocks,  # type: ignore[arg-type]
            stem=stem,
            downsampler=downsampler,
            squeeze_excite=squeeze_excite,
            query_convolutions=query_convolutions,
            query_resize=query_resize,
            position_bias=position_bias,
            mask_padding=mask_padding,
        )
        with torch.device(torch.get_default_device() if device is None else device):
            super().__init__(config)
        self.to(dtype=dtype)
        self.global_pool = _known_pool(global_pool)
        self.feature_info = [
            {"num_chs": channels, "reduction": 4 * 2**stage, "module": f"stages.{stage}"}
            for stage, channels in enumerate(config.channels)
        ]

    @property
    def in_chans(self) -> int:
        """Channels of the image."""
        return self.config.in_chans

    @property
    def num_classes(self) -> int:
        """Outputs of the head; 0: there is none."""
        return self.config.num_classes

    @property
    def num_features(self) -> int:
        """Channels of what `forward_features` returns."""
        return self.config.channels[len(self.stages) - 1]

    @property
    def head_hidden_size(self) -> int:
        """Channels of what the classifier sees."""
        return self.num_features

    def forward_features(self, x: Images) -> Map:
        """The last stage's map after the final norm, NCHW."""
        return self._normed(self.pyramid(x)[-1])

    def forward_head(self, x: Map, pre_logits: bool = False) -> Tensor:
        """Pooling and, unless `pre_logits`, the classifier, on what `forward_features` returns."""
        x = as_nhwc(x)
        if self.global_pool:
            x = x.mean((1, 2))
        x = self.head_dropout(x)
        x = x if pre_logits else self.head(x)
        return x if self.global_pool else as_nchw(x)

    def classify(self, last: Map) -> Tensor:
        """Logits from the last stage's map, before the final norm."""
        return self.forward_head(self._normed(last))

    def _normed(self, last: Map) -> Map:
        return as_nchw(self.norm(as_nhwc(last)))

    def forward_intermediates(
        self,
        x: Images,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """What `forward_features` returns, and the maps of the stages that `indices` names, in its order.

        indices: stages counted from 0 or, if negative, from the end; an int for so many last ones, None for all.
        norm: apply the final norm to the last stage's map; the others have none.
        stop_early: compute no stage after the last one asked for; its map is then the first result, without norm.
        output_fmt: "NCHW" or "NHWC", of the stages' maps. intermediates_only: return these alone.
        Raises UserError for another format or a stage that the model does not have.
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise UserError(f"output_fmt must be NCHW or NHWC, not {output_fmt!r}")
        chosen = _stages_of(indices, len(self.stages))
        count = max(chosen) + 1 if stop_early or intermediates_only else len(self.stages)
        maps = self._stages(x, [None] * count)
        final = self._normed(maps[-1]) if count == len(self.stages) else maps[-1]
        taps = [*maps[:-1], final] if norm else maps
        found = [as_nhwc(taps[stage]) if output_fmt == "NHWC" else taps[stage] for stage in chosen]
        return found if intermediates_only else (final, found)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages after the last one of `indices` (as in `forward_intermediates`) and what follows them:
        the final norm if it is asked for or loses its stage, the classifier if it is asked for. Returns the indices,
        counted from 0. A model without its last stages has no place for a classifier, and its `config` still
        describes the whole one."""
        chosen = _stages_of(indices, len(self.stages))
        self.stages = self.stages[: max(chosen) + 1]
        whole = len(self.stages) == STAGES
        self.stages[-1].downsample = nn.Identity()
        if prune_norm or not whole:
            self.register_module("norm", nn.Identity())
        if prune_head or not whole:
            self.reset_classifier(0)
        return chosen

    def get_classifier(self) -> nn.Module:
        """The last linear, or an identity when there is none."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh classifier for `num_classes` outputs, 0 for none; `global_pool` as for the constructor, None to
        leave it. Raises UserError for another pooling, or a classifier on a model without its last stages."""
        if num_classes and len(self.stages) < STAGES:
            raise UserError(
                f"this model was pruned to its first {len(self.stages)} stages and takes no classifier; "
                f"build one around forward_features instead"
            )
        if global_pool is not None:
            self.global_pool = _known_pool(global_pool)
        super().reset_classifier(num_classes)

    def set_input_size(self, img_size: int | Pair | None = None, windows: Windows | None = None) -> None:
        """Choose the windows anew, as `gcvit.GCViT.set_input_size` does; a model saved by timm remembers it."""
        super().set_input_size(img_size, windows)
        # timm writes these two into config.json.
        self._traits = {**getattr(self, "_traits", {}), "img_size": self.config.img_size}
        self._model_args = {**getattr(self, "_model_args", {}), "windows": self.config.windows}

    def no_weight_decay(self) -> set[str]:
        """None beside the one-dimensional ones: the published training decayed the bias tables too."""
        return set()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters by depth, for layer-wise learning rates: the stem, every block (with the first its stage's
        query generator, with the last of all the final norm) and downsampler, the classifier; `coarse`: stem, stages,
        classifier."""
        # timm's words: a pattern's groups, then the numbers beside it, order the layers; what matches nothing comes
        # last; 99999 joins the layer before.
        norm = (r"^norm\.", (99999,))
        if coarse:
            return {"stem": r"^stem\.", "stages": [(r"^stages\.(\d+)\.", None), norm]}
        return {
            "stem": r"^stem\.",
            "stages": [
                (r"^stages\.(\d+)\.query\.", (0,)),
                (r"^stages\.(\d+)\.blocks\.(\d+)\.", None),
                (r"^stages\.(\d+)\.downsample\.", (9999,)),
                norm,
            ],
        }

    def load_pretrained(self, checkpoint_path: str | Path) -> None:
        """Load a published file, read as safely and strictly as `gcvit.load_weights` does it; timm calls this for the
        files in `default_cfgs`. A model with another number of classes keeps its fresh head."""
        published = self.pretrained_cfg["num_classes"]
        load_weights(self, checkpoint_path, replace_head=self.num_classes not in (0, published))


def _known_pool(name: str) -> str:
    if name not in POOLS:
        raise UserError(f'global_pool must be "avg" or "", not {name!r}')
    return name


def _stages_of(indices: int | Sequence[int] | None, count: int) -> list[int]:
    """Positions from 0 in a list of `count` stages; timm's convention."""
    if indices is None:
        return list(range(count))
    wanted = range(-indices, 0) if isinstance(indices, int) else indices
    chosen = [count + index if index < 0 else index for index in wanted]
    if not chosen or not all(0 <= index < count for index in chosen):
        raise UserError(f"indices must name some of the {count} stages, not {indices}")
    return chosen
