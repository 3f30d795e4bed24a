"""GC ViT written out from the paper, for obviousness: one image, one window, one head at a time.

No module, no fusion, no padding: windows at the right and bottom border are simply cut short, so that only
real tokens are ever keys. Maps are (batch, height, width, channels) except inside convolutions. Works in any
floating type and is differentiable with respect to the images and every tensor of the state dict.
"""

import math

import torch
import torch.nn.functional as F

EPS = 1e-5


def reference_forward(config, weights, images):
    """Logits (None without a head), maps (batch, C, H, W), queries (batch, h, w, C) and attention.

    `attention[stage, block][image][window][head]` is (real tokens, real tokens) of that window, windows in
    reading order.
    """
    x = convolve(images.permute(0, 2, 3, 1), weights["stem.conv.weight"], weights["stem.conv.bias"], stride=2)
    x = downsample(weights, "stem.downsample", x)
    maps, queries, attention = [], [], {}
    for stage in range(4):
        window = windows_of(config)[stage]
        query = global_query(config, weights, stage, x)
        queries.append(query)
        for block in range(config.depths[stage]):
            x, attention[stage, block] = transformer_block(config, weights, stage, block, x, query, window)
        maps.append(x.permute(0, 3, 1, 2))
        if stage < 3:
            x = downsample(weights, f"stages.{stage}.downsample", x)
    logits = None
    if config.head:
        x = layer_norm(weights, "norm", x)
        logits = linear(weights, "head", x.mean(dim=(1, 2)))
    return {"logits": logits, "maps": maps, "queries": queries, "attention": attention}


def map_size(config, stage):
    """Height and width of a stage's map at the size that the model is built for."""
    return tuple(math.ceil(side / 2 ** (stage + 2)) for side in config.img_size)


def windows_of(config):
    """The windows of the four stages: those given, or in the published ratios to the image."""
    if config.windows is not None:
        return config.windows
    windows = []
    for stage, ratio in enumerate((32, 32, 16, 32)):
        sides = zip(config.img_size, map_size(config, stage), strict=True)
        windows.append(tuple(max(math.ceil(side / ratio), min(extent, 4)) for side, extent in sides))
    return windows


def poolings(config, stage):
    """How often a stage's query generator halves its map: log2(side / window) of figure 5."""
    height, width = map_size(config, stage)
    short = 0 if height <= width else 1
    side, window = (height, width)[short], windows_of(config)[stage][short]
    return min(max(round(math.log2(side / window)), 0), config.query_mbconvs[stage])


def global_query(config, weights, stage, x):
    """Section 2.1, equation 2: (batch, h, w, C) from the stage's input, whatever its size."""
    for step in range(config.query_mbconvs[stage]):
        x = mbconv(weights, f"stages.{stage}.query.mbconvs.{step}", x)
        if step < poolings(config, stage):
            x = F.max_pool2d(x.permute(0, 3, 1, 2), kernel_size=3, stride=2, padding=1).permute(0, 2, 3, 1)
    window = tuple(windows_of(config)[stage])
    if tuple(x.shape[1:3]) != window:
        x = F.interpolate(x.permute(0, 3, 1, 2), size=window, mode="bicubic", align_corners=False)
        x = x.permute(0, 2, 3, 1)
    return x


def transformer_block(config, weights, stage, block, x, query, window):
    """Figure 6: attention, then an MLP, each behind a LayerNorm and added to its input."""
    name = f"stages.{stage}.blocks.{block}"
    is_global = block % 2 == 1
    normed = layer_norm(weights, f"{name}.norm1", x)
    attended, attention = windowed_attention(
        weights, f"{name}.attention", normed, query if is_global else None, window, config.heads[stage]
    )
    x = x + layer_scale(config, weights, f"{name}.scale1", attended)
    hidden = gelu(linear(weights, f"{name}.mlp.fc1", layer_norm(weights, f"{name}.norm2", x)))
    x = x + layer_scale(config, weights, f"{name}.scale2", linear(weights, f"{name}.mlp.fc2", hidden))
    return x, attention


def windowed_attention(weights, name, x, query, window, heads):
    """Equation 6 in every window of every image; with a query (batch, h, w, C), global attention."""
    batch, height, width, _ = x.shape
    images, attention = [], []
    for image in range(batch):
        rows, attention_of_image = [], []
        for top in range(0, height, window[0]):
            row = []
            for left in range(0, width, window[1]):
                tokens = x[image, top : top + window[0], left : left + window[1]]
                # The same query of this image in every window; a window cut short uses its matching corner.
                asked = None if query is None else query[image, : tokens.shape[0], : tokens.shape[1]]
                out, probabilities = attend(weights, name, tokens, asked, window, heads)
                row.append(out)
                attention_of_image.append(probabilities)
            rows.append(torch.cat(row, dim=1))
        images.append(torch.cat(rows, dim=0))
        attention.append(attention_of_image)
    return torch.stack(images), attention


def attend(weights, name, tokens, query, window, heads):
    """One window: tokens (rows, columns, C) to the same shape, and the softmax of each head."""
    rows, columns, channels = tokens.shape
    tokens = tokens.reshape(rows * columns, channels)
    if query is None:
        q, k, v = linear(weights, f"{name}.qkv", tokens).split(channels, dim=1)
    else:
        q = query.reshape(rows * columns, channels)
        k, v = linear(weights, f"{name}.kv", tokens).split(channels, dim=1)
    size = channels // heads
    index = position_index(rows, columns, window)
    outs, attention = [], []
    for head in range(heads):
        mine = slice(head * size, (head + 1) * size)
        bias = weights[f"{name}.bias.table"][index, head]
        scores = q[:, mine] @ k[:, mine].T / math.sqrt(size) + bias
        powers = torch.exp(scores - scores.amax(dim=1, keepdim=True))
        probabilities = powers / powers.sum(dim=1, keepdim=True)
        outs.append(probabilities @ v[:, mine])
        attention.append(probabilities)
    out = linear(weights, f"{name}.proj", torch.cat(outs, dim=1))
    return out.reshape(rows, columns, channels), attention


def position_index(rows, columns, window):
    """Row of the (2h−1)(2w−1) bias table for every pair (query token, key token)."""
    places = [(y, x) for y in range(rows) for x in range(columns)]
    index = [
        [(qy - ky + window[0] - 1) * (2 * window[1] - 1) + (qx - kx + window[1] - 1) for ky, kx in places]
        for qy, qx in places
    ]
    return torch.tensor(index)


def downsample(weights, name, x):
    """Section 2 with section 5.2's strided convolution: LayerNorm, fused MBConv, convolution, LayerNorm."""
    x = layer_norm(weights, f"{name}.norm1", x)
    x = mbconv(weights, f"{name}.mbconv", x)
    x = convolve(x, weights[f"{name}.conv.weight"], None, stride=2)
    return layer_norm(weights, f"{name}.norm2", x)


def mbconv(weights, name, x):
    """Equation 1."""
    channels = x.shape[-1]
    hidden = gelu(convolve(x, weights[f"{name}.depthwise.weight"], None, groups=channels))
    squeezed = hidden.mean(dim=(1, 2))
    reduced = gelu(squeezed @ weights[f"{name}.squeeze_excite.reduce.weight"].T)
    gate = 1 / (1 + torch.exp(-reduced @ weights[f"{name}.squeeze_excite.expand.weight"].T))
    hidden = hidden * gate[:, None, None, :]
    return x + convolve(hidden, weights[f"{name}.pointwise.weight"], None)


def convolve(x, weight, bias, stride=1, groups=1):
    """A convolution of an NHWC map that keeps its size, or halves it rounding up."""
    padding = weight.shape[-1] // 2
    out = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, stride=stride, padding=padding, groups=groups)
    return out.permute(0, 2, 3, 1)


def linear(weights, name, x):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(weights, name, x):
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred**2).mean(dim=-1, keepdim=True)
    return centred / torch.sqrt(variance + EPS) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def layer_scale(config, weights, name, x):
    return x if config.layer_scale is None else x * weights[f"{name}.gamma"]


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
