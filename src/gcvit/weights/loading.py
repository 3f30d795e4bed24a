"""Strict loading of any known format into a GC ViT, with a report of everything that was changed on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from gcvit.model import GCViT, GCViTConfig
from gcvit.model.attention import resize_table, table_window
from gcvit.model.config import Pair
from gcvit.weights.catalogue import CATALOGUE, CatalogueEntry, default_entry, entry_for_file, tell_licence
from gcvit.weights.fetching import fetch_entry, fetch_hub_directory
from gcvit.weights.hub import windows_of
from gcvit.weights.names import DERIVED, Layout, layout_of, table
from gcvit.weights.reading import Checkpoint, State, read_checkpoint, unwrap

Source = str | Path | Mapping[str, object] | Checkpoint
HEAD = ("head.weight", "head.bias")
NORM = ("norm.weight", "norm.bias")
FILE_SUFFIXES = (".pth", ".tar", ".pt", ".safetensors", ".bin", ".ckpt", ".json")
TABLE = ".attention.bias.table"


@dataclass
class LoadReport:
    """What `load_weights` did; `str(report)` is for reading.

    origin: where the weights came from; layout: whose names they had; loaded: parameters taken as they were.
    resized: bias tables interpolated to other windows, (name, old window, new window).
    adapted: other changes, in words. replaced: parameters that keep their fresh values. dropped: names not used.
    """

    origin: str
    layout: Layout
    loaded: int = 0
    resized: list[tuple[str, Pair, Pair]] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.origin}: {self.loaded} parameters loaded as they are ({self.layout} names)"]
        for old, new in sorted({(old, new) for _, old, new in self.resized}):
            count = sum((o, n) == (old, new) for _, o, n in self.resized)
            lines.append(f"{count} bias tables resized from windows of {_by(old)} to {_by(new)}")
        lines += self.adapted
        if self.replaced:
            lines.append(f"left at fresh values: {', '.join(self.replaced)}")
        if self.dropped:
            lines.append(f"not used: {', '.join(self.dropped)}")
        return "\n  ".join(lines)


def load_weights(model: GCViT, source: Source, *, ema: bool = False, replace_head: bool = False) -> LoadReport:
    """Load weights into a model, strictly; the model is changed only when everything fits.

    source: a path (`.pth.tar`, `.pth`, `.safetensors`, a hub directory), a catalogue name ("gcvit_tiny.nvlabs"), a
        variant's name (its NVlabs weights), a hub repository ("owner/name"), a state dict, or a checkpoint that has
        been read; with the names of NVlabs, of timm or our own, wrapped by a training run or not.
    ema: take the averaged weights of a training checkpoint.
    replace_head: keep the model's fresh head, whatever number of classes the weights have.

    Bias tables of other windows are resized and weights for another number of input channels adapted; the report
    says so. A backbone, or a model with `num_classes=0`, drops the head. Raises ValueError, listing the names, when
    parameters are missing, left over or of another shape; and for files as `read_checkpoint` does.
    """
    checkpoint = find(source, ema=ema)
    layout = layout_of(checkpoint.state)
    if layout is None:
        raise ValueError(f"{checkpoint.origin}: not a GC ViT; its first names are {_list(list(checkpoint.state)[:4])}")
    report = LoadReport(checkpoint.origin, layout)
    state = to_ours(checkpoint.state, layout, model.config)
    target = model.state_dict()
    _settle_head(state, target, replace_head, report)
    _check_names(state, target, report)
    windows = windows_of(checkpoint.hub_config) if checkpoint.hub_config else None
    for name, tensor in state.items():
        state[name] = _fit(name, tensor, target[name], model, windows, report)
    model.load_state_dict(target | state)
    return report


def find(source: Source, *, ema: bool = False) -> Checkpoint:
    """Read what `source` names (see `load_weights`), fetching it if need be; says its licence if that restricts."""
    if isinstance(source, Checkpoint):
        return source
    if isinstance(source, Mapping):
        return Checkpoint(unwrap(source, "the given dict", ema=ema), "the given dict")
    path = Path(source).expanduser()
    if not path.exists():
        name = str(source)
        entry = CATALOGUE.get(name) or default_entry(name)
        if entry:
            path = fetch_entry(entry)
        elif _is_hub_repository(name):
            path = fetch_hub_directory(name.removeprefix("hf-hub:"))
        else:
            raise ValueError(f"{source}: no such file, published checkpoint or hub repository (owner/name)")
    if entry := entry_for_file(path.name) or _timm_hub_entry(str(source)):
        tell_licence(entry)
    return read_checkpoint(path, ema=ema)


def _timm_hub_entry(source: str) -> CatalogueEntry | None:
    """timm keeps the same weights in the hub as well, as timm/gcvit_tiny.in1k."""
    owner, _, name = source.removeprefix("hf-hub:").partition("/")
    return CATALOGUE.get(f"{name.removesuffix('.in1k')}.timm") if owner == "timm" else None


def _is_hub_repository(name: str) -> bool:
    name = name.removeprefix("hf-hub:")
    return name.count("/") == 1 and not name.startswith(("/", ".", "~")) and not name.endswith(FILE_SUFFIXES)


def to_ours(state: Mapping[str, Tensor], layout: Layout, config: GCViTConfig) -> State:
    """Our names where the table has one; names it does not know stay, to be listed as left over."""
    # With a head, even where the model has none: its names are needed to drop it.
    rows = table(replace(config, head=True, num_classes=1))
    ours = {getattr(row, layout): row.gcvit for row in rows}
    renamed = {ours.get(name, name): tensor for name, tensor in state.items() if not name.endswith(DERIVED)}
    # timm's squeeze-and-excite are 1×1 convolutions.
    return {name: tensor.flatten(1) if ".squeeze_excite." in name else tensor for name, tensor in renamed.items()}


def _settle_head(state: State, target: State, replace: bool, report: LoadReport) -> None:
    """Drop a head that the model has no use for; keep the model's own where `replace` allows it."""
    unused = [n for n in (*HEAD, *NORM) if n in state and n not in target]
    report.dropped += unused
    for name in unused:
        del state[name]
    if HEAD[0] not in target:
        return
    ours = len(target[HEAD[0]])
    theirs = len(state[HEAD[0]]) if HEAD[0] in state else None
    if replace:
        report.replaced += HEAD
        report.adapted.append(f"a fresh head for {ours} classes ({_classes(theirs)} in the weights)")
        for name in HEAD:
            state.pop(name, None)
    elif theirs != ours:
        raise ValueError(
            f"{report.origin}: {_classes(theirs)} in the head, but the model has {ours}. "
            f"Pass replace_head=True to train a fresh head on these weights"
        )


def _check_names(state: State, target: State, report: LoadReport) -> None:
    missing = [name for name in target if name not in state and name not in report.replaced]
    left_over = [name for name in state if name not in target]
    if missing or left_over:
        raise ValueError(
            f"{report.origin}: these weights are of another model than this one.\n"
            f"  missing ({len(missing)}): {_list(missing)}\n  left over ({len(left_over)}): {_list(left_over)}"
        )


def _fit(
    name: str,
    tensor: Tensor,
    target: Tensor,
    model: GCViT,
    windows: tuple[Pair, ...] | None,
    report: LoadReport,
) -> Tensor:
    """The tensor in the target's shape, if that is a change we know how to make."""
    if name.endswith(TABLE) and tensor.ndim == 2 and tensor.shape[1] == target.shape[1]:
        stage = int(name.split(".")[1])
        new = model.config.stage_windows[stage]
        old = table_window(len(tensor), windows[stage] if windows else new)
        if old is None:
            raise ValueError(
                f"{report.origin}: {name} has {len(tensor)} rows, which no square window gives, and nothing says how "
                f"wide its windows are; load it into a model of the same windows, then use set_input_size"
            )
        if old != new:
            report.resized.append((name, old, new))
            return resize_table(tensor, old, new)
    if name == "stem.conv.weight" and tensor.shape[1] != target.shape[1] and tensor.shape[0] == target.shape[0]:
        report.adapted.append(f"the first convolution adapted from {tensor.shape[1]} to {target.shape[1]} channels")
        return adapt_channels(tensor, target.shape[1])
    if tensor.shape != target.shape:
        raise ValueError(
            f"{report.origin}: {name} has the shape {tuple(tensor.shape)}, the model's is {tuple(target.shape)}; "
            f"these weights are of another model than this one"
        )
    report.loaded += 1
    return tensor


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """A convolution's weight for another number of input channels: one channel gets the sum over all, more get the
    old ones in turn, scaled by old / new, so that an image that is equal in all channels gives about the same
    response (exactly, for a multiple of the old number). timm's rule."""
    old = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight[:, torch.arange(channels) % old] * (old / channels)


def _classes(count: int | None) -> str:
    return "no classes" if count is None else f"{count} classes"


def _list(names: list[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") if names else "none"


def _by(window: Pair) -> str:
    return f"{window[0]}×{window[1]}"
