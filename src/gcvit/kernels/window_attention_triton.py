"""The Triton kernels of `gcvit.kernels.window_attention`, which alone imports this file: it needs triton.

Both compute softmax(q kᵀ · scale + b) v of one head in one window. Powers of 2 are cheaper than powers of e, so
scores are kept times log2(e). Scores, softmax and sums are float32; only what tensor cores multiply is narrower.
"""

import triton
import triton.language as tl

LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
DIM: tl.constexpr = tl.constexpr(32)

# Sizes that differ from image to image and must not each compile a kernel of their own.
SIZES = ["height", "width", "rows", "columns", "windows", "per_program"]


@triton.jit
def window_origin(window, height, width, rows, columns, H: tl.constexpr, W: tl.constexpr):
    """(image, top row, left column) of a window counted through the batch; the image as int64, for the pointers."""
    image = window // (rows * columns)
    place = window % (rows * columns)
    return image.to(tl.int64), place // columns * H, place % columns * W


@triton.jit
def load_bias(table, offset_stride, i, j, H: tl.constexpr, W: tl.constexpr):
    """log2(e) times the entries for the offsets of tokens `i` from tokens `j`; 0 where either is beyond the window."""
    row: tl.constexpr = 2 * W - 1
    centre: tl.constexpr = (H - 1) * row + W - 1
    offset = (i // W * row + i % W + centre)[:, None] - (j // W * row + j % W)[None, :]
    inside = (i < H * W)[:, None] & (j < H * W)[None, :]
    return LOG2E * tl.load(table + offset * offset_stride, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def multiply(a, b, WIDEN: tl.constexpr):
    """The matrix product, summed in float32. Triton's interpreter cannot multiply bfloat16, so there it is widened."""
    if WIDEN:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    return tl.dot(a, b, input_precision="ieee")


@triton.jit(do_not_specialize=SIZES)
def small_windows(
    projected, query, table, out,
    height, width, rows, columns, windows, per_program, heads, scale,
    image_stride, row_stride, column_stride, part_stride, head_stride,
    query_image_stride, query_head_stride, query_token_stride,
    offset_stride, table_head_stride,
    GLOBAL: tl.constexpr, H: tl.constexpr, W: tl.constexpr, WIDEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Windows whose tokens fit one tile: a program takes some windows in turn and holds the head's bias throughout."""
    head = tl.program_id(0) % heads
    first = tl.program_id(0) // heads * per_program
    token, channel = tl.arange(0, BLOCK), tl.arange(0, DIM)
    bias = load_bias(table + head * table_head_stride, offset_stride, token, token, H, W)
    for window in range(first, tl.minimum(first + per_program, windows)):
        image, top, left = window_origin(window, height, width, rows, columns, H, W)
        y, x = (top + token // W).to(tl.int64), (left + token % W).to(tl.int64)
        inside = (token < H * W) & (y < height) & (x < width)
        at = projected + image * image_stride + y * row_stride + x * column_stride + head * head_stride
        at = at[:, None] + channel[None, :]
        if GLOBAL:
            own = query + image * query_image_stride + head * query_head_stride + token * query_token_stride
            q = tl.load(own[:, None] + channel[None, :], mask=(token < H * W)[:, None], other=0.0)
        else:
            q = tl.load(at, mask=inside[:, None], other=0.0)
            at += part_stride
        k = tl.load(at, mask=inside[:, None], other=0.0)
        v = tl.load(at + part_stride, mask=inside[:, None], other=0.0)
        scores = multiply(q, tl.trans(k), WIDEN) * (scale * LOG2E) + bias
        scores = tl.where(inside[None, :], scores, float("-inf"))
        weights = tl.exp2(scores - tl.max(scores, 1)[:, None])
        mixed = multiply(weights.to(v.dtype), v, WIDEN) / tl.sum(weights, 1)[:, None]
        to = ((image * height + y) * width + x) * (heads * DIM) + head * DIM
        tl.store(out + to[:, None] + channel[None, :], mixed.to(out.dtype.element_ty), mask=inside[:, None])


@triton.jit(do_not_specialize=SIZES)
def large_windows(
    projected, query, table, out,
    height, width, rows, columns, windows, per_program, heads, scale,
    image_stride, row_stride, column_stride, part_stride, head_stride,
    query_image_stride, query_head_stride, query_token_stride,
    offset_stride, table_head_stride,
    GLOBAL: tl.constexpr, H: tl.constexpr, W: tl.constexpr, WIDEN: tl.constexpr, BLOCK: tl.constexpr,
    KEYS: tl.constexpr,
):  # fmt: skip
    """Windows of any size: a program takes BLOCK queries and meets the keys KEYS at a time (online softmax)."""
    blocks: tl.constexpr = (H * W + BLOCK - 1) // BLOCK
    head = tl.program_id(0) % heads
    start = tl.program_id(0) // heads % blocks * BLOCK
    image, top, left = window_origin(tl.program_id(0) // heads // blocks, height, width, rows, columns, H, W)
    tokens = tl.minimum(H, height - top) * W  # those of the rows that lie on the map; they come first
    if start >= tokens:
        return
    channel = tl.arange(0, DIM)
    token = start + tl.arange(0, BLOCK)
    y, x = (top + token // W).to(tl.int64), (left + token % W).to(tl.int64)
    inside = (token < tokens) & (x < width)
    base = projected + image * image_stride + head * head_stride
    if GLOBAL:
        own = query + image * query_image_stride + head * query_head_stride + token * query_token_stride
        q = tl.load(own[:, None] + channel[None, :], mask=(token < H * W)[:, None], other=0.0)
    else:
        own = base + y * row_stride + x * column_stride
        q = tl.load(own[:, None] + channel[None, :], mask=inside[:, None], other=0.0)
        base += part_stride
    table += head * table_head_stride
    # The first key of the first block is on the map, so the maximum is finite from then on and no weight is NaN.
    maximum = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    mixed = tl.zeros([BLOCK, DIM], tl.float32)
    for first in range(0, tokens, KEYS):
        key = first + tl.arange(0, KEYS)
        key_y, key_x = (top + key // W).to(tl.int64), (left + key % W).to(tl.int64)
        real = (key < tokens) & (key_x < width)
        at = (base + key_y * row_stride + key_x * column_stride)[:, None] + channel[None, :]
        k = tl.load(at, mask=real[:, None], other=0.0)
        v = tl.load(at + part_stride, mask=real[:, None], other=0.0)
        scores = multiply(q, tl.trans(k), WIDEN) * (scale * LOG2E)
        scores += load_bias(table, offset_stride, token, key, H, W)
        scores = tl.where(real[None, :], scores, float("-inf"))
        highest = tl.maximum(maximum, tl.max(scores, 1))
        shrink = tl.exp2(maximum - highest)
        weights = tl.exp2(scores - highest[:, None])
        total = total * shrink + tl.sum(weights, 1)
        mixed = mixed * shrink[:, None] + multiply(weights.to(v.dtype), v, WIDEN)
        maximum = highest
    to = ((image * height + y) * width + x) * (heads * DIM) + head * DIM
    mixed = mixed / total[:, None]
    tl.store(out + to[:, None] + channel[None, :], mixed.to(out.dtype.element_ty), mask=inside[:, None])
