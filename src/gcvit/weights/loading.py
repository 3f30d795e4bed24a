"""Strict loading of any known format into a GC ViT, with a report of everything that was changed on the way."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gcvit.errors import UserError
from gcvit.model import GCViT
from gcvit.model.attention import resize_table, table_window
from gcvit.model.config import Pair
from gcvit.weights.checks import SHOWN, check_described, check_named, check_values
from gcvit.weights.fetching import Weights, find
from gcvit.weights.hub import model_config
from gcvit.weights.names import HEAD, MAP_NORMS, NORM, TABLE, Layout, State, classes_in
from gcvit.weights.reading import Checkpoint
from gcvit.wording import by, harmless, listed


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
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """What a person should know; those after the first are set in."""
        lines = [f"{self.origin}: {self.loaded} parameters loaded as they are ({self.layout} names)"]
        for old, new in sorted({(old, new) for _, old, new in self.resized}):
            count = sum((o, n) == (old, new) for _, o, n in self.resized)
            lines.append(f"{count} bias tables resized from windows of {by(old)} to {by(new)}")
        lines += self.adapted
        if self.replaced:
            lines.append(f"left at fresh values: {listed(self.replaced, SHOWN)}")
        if self.dropped:
            lines.append(f"not used: {listed(self.dropped, SHOWN)}")
        first, *others = (harmless(line, keep="") for line in lines)
        return [first, *(f"  {line}" for line in others)]


def load_weights(model: GCViT, source: Weights, *, ema: bool = False, replace_head: bool = False) -> LoadReport:
    """Load weights into a model, strictly; the model is changed only when everything fits.

    source: a run's folder (its best weights), a path (`.pth.tar`, `.pth`, `.safetensors`, a hub folder), a catalogue
        name ("gcvit_tiny.nvlabs"), a variant's name (its NVlabs weights), a hub repository ("owner/name", with
        "@revision" if one is meant), a state dict, or a checkpoint that has been read; with the names of NVlabs, of
        timm or our own, wrapped by a training run or not, alone or as the backbone of a larger model.
    ema: take the averaged weights of a training checkpoint.
    replace_head: keep the model's fresh head, whatever number of classes the weights have.

    Bias tables of other windows are resized and weights for another number of input channels adapted; the report
    says so. A backbone, or a model with `num_classes=0`, drops the head. Raises UserError, listing the names, when
    parameters are missing, left over, of another shape, no floating-point numbers or not finite; and as `find` does.
    """
    checkpoint = find(source, ema=ema).gcvit
    state = dict(checkpoint.state)
    assert checkpoint.layout is not None
    report = LoadReport(checkpoint.origin, checkpoint.layout, dropped=list(checkpoint.beside))
    target = model.state_dict()
    _settle_head(state, target, replace_head, report)
    expected = dict.fromkeys(name for name in target if name not in report.replaced)
    check_named(expected, state, f"{checkpoint.origin}: these weights are of another model than this one")
    check_values(state, checkpoint.origin, target)
    hub = checkpoint.hub_config
    windows = model_config(hub, checkpoint.origin).stage_windows if hub else None
    for name, tensor in state.items():
        state[name] = _fit(name, tensor, target[name], model, windows, report)
    model.load_state_dict(target | state)
    return report


def fill(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Give a model that was made on the meta device a checkpoint's weights.

    Raises UserError as `check_described` and `check_values` do; nothing was allocated then.
    """
    target = model.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in target.items()}
    check_described(shapes, checkpoint.state, checkpoint.origin)
    check_values(checkpoint.state, checkpoint.origin, target)
    model.to_empty(device="cpu").load_state_dict(checkpoint.state)


def _settle_head(state: State, target: State, replace: bool, report: LoadReport) -> None:
    """Drop a head that the model has no use for; keep the model's own where `replace` allows it."""
    unused = [n for n in (*HEAD, *NORM, *MAP_NORMS) if n in state and n not in target]
    report.dropped += unused
    for name in unused:
        del state[name]
    if HEAD[0] not in target:
        return
    mine = len(target[HEAD[0]])
    theirs = classes_in(state)
    if replace:
        report.replaced += HEAD
        report.adapted.append(f"a fresh head for {mine} classes ({_classes(theirs)} in the weights)")
        for name in HEAD:
            state.pop(name, None)
    elif theirs != mine:
        raise UserError(
            f"{report.origin}: {_classes(theirs)} in the head, but the model has {mine}. "
            f"Pass replace_head=True to train a fresh head on these weights"
        )


def _fit(
    name: str, tensor: Tensor, target: Tensor, model: GCViT, windows: tuple[Pair, ...] | None, report: LoadReport
) -> Tensor:
    """The tensor in the target's shape, if that is a change we know how to make."""
    if name.endswith(TABLE) and tensor.ndim == 2 and tensor.shape[1] == target.shape[1]:
        stage = int(name.split(".")[1])
        new = model.config.stage_windows[stage]
        old = table_window(len(tensor), windows[stage] if windows else new)
        if old is None:
            raise UserError(
                f"{report.origin}: {name} has {len(tensor)} rows, which no square window gives, and nothing says how "
                f"wide its windows are; load it into a model of the same windows, then use set_input_size"
            )
        if old != new:
            report.resized.append((name, old, new))
            return resize_table(tensor, old, new)
    same_but_channels = tensor.ndim == 4 and (tensor.shape[0], *tensor.shape[2:]) == (target.shape[0], 3, 3)
    if name == "stem.conv.weight" and same_but_channels and tensor.shape[1] != target.shape[1]:
        report.adapted.append(f"the first convolution adapted from {tensor.shape[1]} to {target.shape[1]} channels")
        return adapt_channels(tensor, target.shape[1])
    if tensor.shape != target.shape:
        raise UserError(
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


def _classes(count: int) -> str:
    return f"{count} classes" if count else "no classes"
