"""Compiling a model by what repeats in it: a kind of block once for each stage, not every block."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import FunctionType

import torch
from torch import Tensor, nn

from gcvit.errors import UserError
from gcvit.internals.of_torch import compiled_calls, free_axis, plain_call, set_compiled_call
from gcvit.model.attention import Query, TokensOrMap
from gcvit.model.gcvit import Block, Stage
from gcvit.model.windows import Layout


def compile_blocks(model: nn.Module, *, dynamic: bool = True, backend: str | Callable = "inductor") -> nn.Module:
    """Compile the blocks of every GC ViT in `model`, in place, when they are first called; returns it.

    All local blocks of a stage share their code, and so do its global ones: a model of 31 blocks is compiled as 8.
    In inference that code is for any number of images and windows; in training one image, or one window, has code of
    its own. So have windows with padding, another precision and another window. Names and weights stay as they are; a
    copy of the model (`fold`, `deepcopy`) is not compiled.

    dynamic: False compiles for each number of images and windows alone, of which torch keeps eight before it gives up
        and computes as if nothing was compiled.
    backend: as for `torch.compile`.
    Raises UserError for a model without GC ViT.
    """
    stages = [module for module in model.modules() if isinstance(module, Stage)]
    if not stages:
        raise UserError("there is no GC ViT in this model; compile it as a whole, with model.compile()")
    if not compiled_calls():  # each block by torch's own way, and so by itself
        for block in (block for stage in stages for block in stage.blocks):
            block.compile(dynamic=dynamic or None, backend=backend)
        return model
    for number, stage in enumerate(stages):
        kinds = dict.fromkeys(block.kind for block in stage.blocks)
        compiled = {kind: _compile(f"stage{number}_{kind}", backend) for kind in kinds}
        for block in stage.blocks:
            # nn.Module.compile would give all blocks of all stages one cache, of eight entries.
            set_compiled_call(block, partial(_call_compiled, compiled[block.kind], dynamic, block))
    return model


def _compile(name: str, backend: str | Callable) -> Callable[..., Tensor]:
    """`_call`, compiled with a cache to itself: torch keeps what it has compiled with a function's code object."""
    function = FunctionType(_call.__code__.replace(co_name=name), globals(), name)
    return torch.compile(function, dynamic=False, backend=backend)


def _call(block: Block, tokens: TokensOrMap, query: Query | None, layout: Layout) -> TokensOrMap:
    return plain_call(block, tokens, query, layout)


def _call_compiled(
    compiled: Callable[..., Tensor],
    dynamic: bool,
    block: Block,
    tokens: TokensOrMap,
    query: Query | None,
    layout: Layout,
) -> TokensOrMap:
    """Call what `_compile` gave, and with `dynamic` say first which axes may have another length the next time."""
    if dynamic:
        layout = replace(layout, closed=not torch.is_grad_enabled())
        _free(tokens, "batch", *(("windows",) if layout.cut else ("height", "width")))
        if query is not None:
            _free(query, "batch")
        for tokens_outside in (layout.padding, layout.zeroed):
            if tokens_outside is not None:
                _free(tokens_outside, "windows")
    return compiled(block, tokens, query, layout)


def _free(tensor: Tensor, *axes: str) -> None:
    """Let the tensor's first axes, which have these names, be of any length."""
    for axis, name in enumerate(axes):
        free_axis(tensor, axis, name, example=torch.is_grad_enabled())  # without one torch compiles no backward pass
