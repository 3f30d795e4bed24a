"""Local and global window attention in one kernel (Triton), for inference on a GPU.

It reads queries, keys and values where the linear layer wrote them, on the map, and writes the map: windows are
never cut, padded or put together, the image's query is never copied, and the bias is looked up in the learned
table, since gathered it would be many times the size of queries, keys and values at large windows.
"""

import os
from functools import cache
from importlib.util import find_spec
from math import ceil, prod

import torch
from jaxtyping import Float
from torch import Tensor
from wrapt import register_post_import_hook

Pair = tuple[int, int]

HEAD_DIM = 32  # of every published model
SIDES = range(4, 33)  # tokens
TYPES = (torch.float16, torch.bfloat16, torch.float32)
MOST_PROGRAMS = 2**31 - 1  # CUDA's limit on the grid's first axis; the others end at 65,535


def applies(x: Tensor, head_dim: int, window: Pair) -> bool:
    """Whether the kernel computes what attention over `x` needs: on a GPU of compute capability 8.0 or newer with
    triton installed (under TRITON_INTERPRET=1 on any device), heads of 32 channels, windows of 4 to 32 tokens a
    side, and float16, bfloat16 or float32 (autocast's type, where it is on).

    It has no backward pass and no dropout: the caller asks only where neither is needed. GCVIT_FUSED_ATTENTION=0 in
    the environment turns it off (set it before the first image)."""
    kind = x.device.type
    if kind == "meta" or head_dim != HEAD_DIM or any(side not in SIDES for side in window):
        return False
    if not available(kind, x.device.index):
        return False
    return x.dtype in TYPES  # autocast makes another of these of them, and leaves float64 alone


def available(kind: str, index: int | None) -> bool:
    """Whether Triton can run on a device, given as `torch.device`'s type and index."""
    return _available(kind, index)


# Its result is a constant to the compiler, which takes as long to import as torch, and so is not imported for this.
register_post_import_hook(lambda compiler: torch.compiler.assume_constant_result(available), "torch._dynamo")


@cache  # inside: torch's compiler looks through a cache, and would not take what it finds there for a constant
def _available(kind: str, index: int | None) -> bool:
    if os.environ.get("GCVIT_FUSED_ATTENTION") == "0" or find_spec("triton") is None:
        return False
    return interpreted() or (
        kind == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(index) >= (8, 0)
    )


def interpreted() -> bool:
    """Whether Triton interprets its kernels with NumPy, for tests on machines without a GPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def window_attention(
    projected: Float[Tensor, "batch height width parts heads head_dim"],
    query: Float[Tensor, "batch heads tokens head_dim"] | None,
    table: Float[Tensor, "offsets heads"],
    window: Pair,
    scale: float,
) -> Float[Tensor, "batch height width channels"]:
    """softmax(q kᵀ · scale + b) v in each window of a map, heads side by side; the softmax in float32.

    projected: q, k, v (3 parts), or k, v (2 parts); any strides but 1 between the numbers of a head.
    query: with 2 parts, the image's queries, which all its windows share; otherwise None.
    table: b for every offset of two tokens, ((2h−1)(2w−1), heads), of any of the types; it may differ.
    Windows that reach over the map's right or lower edge hold only the tokens that are on it.

    Cannot be differentiated. Raises ValueError where `applies` is False and for shapes that do not belong together.
    """
    return torch.ops.gcvit.window_attention(projected, query, table, window, scale)


@torch.library.custom_op("gcvit::window_attention", mutates_args=())
def _window_attention(
    projected: Tensor, query: Tensor | None, table: Tensor, window: list[int], scale: float
) -> Tensor:
    _check(projected, query, table, window)
    if not available(projected.device.type, projected.device.index):
        raise ValueError(
            f"window attention in Triton needs a GPU of compute capability 8.0 or newer and triton installed; the "
            f"tensors are on {projected.device}: use torch's scaled_dot_product_attention there"
        )
    from gcvit.kernels.window_attention_triton import large_windows, small_windows

    batch, height, width, _, heads, head_dim = projected.shape
    out = projected.new_empty(batch, height, width, heads * head_dim)
    rows, columns = ceil(height / window[0]), ceil(width / window[1])
    windows = batch * rows * columns
    if not windows:
        return out
    tiles = tile_sizes(prod(window), projected.dtype)
    if "KEYS" in tiles:
        kernel, per_program, blocks = large_windows, 1, ceil(prod(window) / tiles["BLOCK"])
    else:
        kernel, per_program, blocks = small_windows, min(max(windows * heads // PROGRAMS, 1), MOST_WINDOWS), 1
    programs = ceil(windows / per_program) * blocks * heads
    if programs > MOST_PROGRAMS:
        raise ValueError(f"a batch of {batch} maps of {height}×{width} is too large for one call: split the batch")
    queries = projected if query is None else query
    with torch.cuda.device_of(projected):
        kernel[(programs,)](
            projected, queries, table, out,
            height, width, rows, columns, windows, per_program, heads, scale,
            *projected.stride()[:5], *queries.stride()[:3], *table.stride(),
            GLOBAL=query is not None, H=window[0], W=window[1], WIDEN=interpreted(), enable_fp_fusion=True, **tiles,
        )  # fmt: skip
    return out


@_window_attention.register_fake
def _(projected: Tensor, query: Tensor | None, table: Tensor, window: list[int], scale: float) -> Tensor:
    _check(projected, query, table, window)
    return projected.new_empty(*projected.shape[:3], projected.shape[4] * projected.shape[5])


# The heads of a window are neighbouring programs: a token's 32 numbers (64 bytes in bfloat16) are half a cache line,
# and the other half is the next head's. A GPU of 132 multiprocessors holds about a thousand programs of 4 warps; a
# few times that keep all busy to the end, and what is more goes to further windows per program, which the bias is
# then loaded for once.
PROGRAMS = 4096
MOST_WINDOWS = 8


def tile_sizes(tokens: int, dtype: torch.dtype) -> dict[str, int]:
    """Queries (BLOCK) and, where a window is more than a tile, keys (KEYS) per tile, warps, and stages of loading.

    Up to 64 tokens (windows to 8×8), one tile of the next power of 2 holds all. Beyond, tiles of 64 queries, what 4
    warps multiply at once on an H200, by 32 keys: few of the last block's stand empty (196 tokens make 7 blocks, 224
    keys) and a multiprocessor holds more programs than with 64. float32 does without tensor cores and needs twice the
    registers, hence tiles of half the side. `runs/kernel_resources.py` counts registers and programs."""
    side = 32 if dtype == torch.float32 else 64
    if tokens <= side:
        block = max(16, 1 << (tokens - 1).bit_length())
        return {"BLOCK": block, "num_warps": block // 16, "num_stages": 2}
    return {"BLOCK": side, "KEYS": 32, "num_warps": 4, "num_stages": 2}


def _check(projected: Tensor, query: Tensor | None, table: Tensor, window: list[int]) -> None:
    if len(window) != 2 or any(side not in SIDES for side in window):
        raise ValueError(f"window attention takes windows of {SIDES[0]} to {SIDES[-1]} tokens a side, not {window}")
    parts = 3 if query is None else 2
    if projected.ndim != 6 or projected.shape[3] != parts or projected.shape[5] != HEAD_DIM:
        raise ValueError(
            f"window attention takes (batch, height, width, {parts}, heads, {HEAD_DIM}) "
            f"{'without' if query is None else 'with'} a query, not {tuple(projected.shape)}"
        )
    if projected.dtype not in TYPES:
        raise ValueError(f"window attention takes float16, bfloat16 and float32, not {projected.dtype}")
    batch, heads, tokens = projected.shape[0], projected.shape[4], window[0] * window[1]
    if query is not None and query.shape != (batch, heads, tokens, HEAD_DIM):
        raise ValueError(
            f"the query must be (batch, heads, tokens, head_dim), here {(batch, heads, tokens, HEAD_DIM)}, not "
            f"{tuple(query.shape)}"
        )
    offsets = (2 * window[0] - 1) * (2 * window[1] - 1)
    if table.shape != (offsets, heads) or not table.is_floating_point():
        raise ValueError(
            f"the bias table of windows of {window[0]}×{window[1]} must be {offsets} offsets by {heads} heads of "
            f"floating-point numbers, not {tuple(table.shape)} of {table.dtype}"
        )
    for name, tensor in (("query", query), ("table", table)):
        if tensor is not None and tensor.device != projected.device:
            raise ValueError(f"the {name} is on {tensor.device}, keys and values are on {projected.device}")
    if query is not None and query.dtype != projected.dtype:
        raise ValueError(f"the query is {query.dtype}, keys and values are {projected.dtype}: they must be the same")
    for name, tensor in (("query", query), ("projected", projected)):
        if tensor is not None and tensor.stride(-1) != 1:
            raise ValueError(f"the numbers of a head must lie side by side: call .contiguous() on {name}")
