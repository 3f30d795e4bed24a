"""Compiling a model by what repeats in it: a kind of block once for each stage, not every block."""

from collections.abc import Callable
from functools import partial
from types import FunctionType

import torch
from torch import Tensor, nn

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
    Raises ValueError for a model without GC ViT.
    """
    stages = [module for module in model.modules() if isinstance(module, Stage)]
    if not stages:
        raise ValueError("there is no GC ViT in this model; compile it as a whole, with model.compile()")
    for number, stage in enumerate(stages):
        for kind, blocks in (("local", stage.blocks[::2]), ("global", stage.blocks[1::2])):
            compiled = _compile(f"stage{number}_{kind}", backend)
            for block in blocks:
                # As nn.Module.compile does, which would give all blocks of all stages one cache, of eight entries.
                block._compiled_call_impl = partial(_call_compiled, compiled, dynamic, block)
    return model


def _compile(name: str, backend: str | Callable) -> Callable[..., Tensor]:
    """`_call`, compiled with a cache to itself: torch keeps what it has compiled with a function's code object."""
    function = FunctionType(_call.__code__.replace(co_name=name), globals(), name)
    return torch.compile(function, dynamic=False, backend=backend)


def _call(block: Block, tokens: TokensOrMap, query: Query, layout: Layout) -> TokensOrMap:
    return block._call_impl(tokens, query, layout)


def _call_compiled(
    compiled: Callable[..., Tensor], dynamic: bool, block: Block, tokens: TokensOrMap, query: Query, layout: Layout
) -> TokensOrMap:
    """Call what `_compile` gave, and with `dynamic` say first which axes may have another length the next time."""
    if dynamic:
        # Without an example of each length torch compiles no backward pass, and torch 2.11 no mask in one piece.
        examples: tuple[str, ...] = ()
        if torch.is_grad_enabled():
            examples = ("batch", "windows")
        elif layout.padding is not None:
            examples = ("windows",)
        _free(tokens, ("batch", "windows") if layout.cut else ("batch", "height", "width"), examples)
        _free(query, ("batch",), examples)
        if layout.padding is not None:
            _free(layout.padding, ("windows",), examples)
    return compiled(block, tokens, query, layout)


def _free(tensor: Tensor, axes: tuple[str, ...], examples: tuple[str, ...]) -> None:
    """Let the tensor's first axes, which have these names, be of any length; of those among `examples` the compiler may
    look at the length, and then a length of 1 is a case of its own."""
    for axis, name in enumerate(axes):
        if name in examples:
            torch._dynamo.maybe_mark_dynamic(tensor, axis)
        else:
            torch._dynamo.decorators.mark_unbacked(tensor, axis, shape_id=name)
