"""Mistakes that a law must notice, each planted into the model for the length of one test.

Some were made by published implementations: the tiled query, max-pooling that pads with zeros, attention to
padding. Others are what the paper's Algorithm 1 says to the letter: no scale, no bias, a scrambled query.
"""

from types import SimpleNamespace

import torch.nn.functional as F
from torch import nn

from gcvit.model import attention, folding, gcvit, global_query, layers, windows


def tiled_query(patch):
    """Window j of image i gets the query of image (i · windows + j) mod batch."""
    right = attention.GlobalAttention.queries_keys_values

    def wrong(self, tokens, query):
        _, k, v = right(self, tokens, query)
        return query.repeat(tokens.shape[1], 1, 1, 1).unflatten(0, tokens.shape[:2]), k, v

    patch.setattr(attention.GlobalAttention, "queries_keys_values", wrong)


def query_of_first_image(patch):
    right = attention.GlobalAttention.queries_keys_values
    patch.setattr(
        attention.GlobalAttention,
        "queries_keys_values",
        lambda self, tokens, query: right(self, tokens, query[:1].expand_as(query)),
    )


def gate_over_batch(patch):
    """Squeeze-and-excite that averages over the batch as well."""

    def wrong(self, x):
        mean = x.mean((0, 1, 2)).expand(len(x), -1)
        return self.expand(F.gelu(self.reduce(mean))).sigmoid()

    patch.setattr(layers.SqueezeExcite, "forward", wrong)


def unmasked_padding(patch):
    patch.setattr(gcvit, "padding_mask", lambda size, window, device: None)


def mask_without_the_right(patch):
    """A mask that knows the padding at the bottom only."""
    right = windows.padding_mask

    def wrong(size, window, device):
        columns = windows.grid(size, window)[1]
        return right((size[0], columns * window[1]), window, device)

    patch.setattr(gcvit, "padding_mask", wrong)


def _split_column_first(x, window):
    x = windows.pad(x, window)
    (batch, height, width, channels), (h, w) = x.shape, window
    x = x.view(batch, height // h, h, width // w, w, channels).permute(0, 3, 1, 2, 4, 5)
    return x.reshape(batch, -1, h * w, channels)


def windows_column_first(patch):
    """Windows are cut column by column and put together row by row."""
    patch.setattr(windows, "split", _split_column_first)
    patch.setattr(gcvit, "split", _split_column_first)


def windows_column_first_both_ways(patch):
    """Cut and put together column by column: only the padding mask is then at odds."""

    def merge(tokens, window, size):
        (batch, _, _, channels), (h, w), (rows, columns) = tokens.shape, window, windows.grid(size, window)
        x = tokens.view(batch, columns, rows, h, w, channels).permute(0, 2, 3, 1, 4, 5)
        return x.reshape(batch, rows * h, columns * w, channels)[:, : size[0], : size[1]]

    windows_column_first(patch)
    patch.setattr(gcvit, "merge", merge)


def tokens_of_window_transposed(patch):
    """Tokens column by column inside the window on the way in, row by row on the way out."""
    right = windows.split

    def wrong(x, window):
        tokens = right(x, window)
        return tokens.unflatten(2, window).transpose(2, 3).flatten(2, 3)

    patch.setattr(windows, "split", wrong)
    patch.setattr(gcvit, "split", wrong)


def padding_on_the_left(patch):
    """Padding before the picture, cropping after it."""

    def wrong(x, window):
        height, width = x.shape[1:3]
        rows, columns = windows.grid((height, width), window)
        return F.pad(x, (0, 0, columns * window[1] - width, 0, rows * window[0] - height, 0))

    patch.setattr(windows, "pad", wrong)


def scrambled_query(patch):
    """Algorithm 1 to the letter: (batch, C, h, w) reshaped straight to heads."""
    right = global_query.GlobalQuery.forward

    def wrong(self, x):
        query = right(self, x)
        batch, heads, tokens, size = query.shape
        nchw = query.permute(0, 1, 3, 2).reshape(batch, heads * size, tokens)
        return nchw.reshape(batch, heads, tokens, size)

    patch.setattr(global_query.GlobalQuery, "forward", wrong)


def detached_query(patch):
    right = global_query.GlobalQuery.forward
    patch.setattr(global_query.GlobalQuery, "forward", lambda self, x: right(self, x).detach())


def pooling_pads_with_zeros(patch):
    def wrong(x, size, stride, padding):
        return F.max_pool2d(F.pad(x, (padding,) * 4), size, stride)

    patch.setattr(global_query, "F", SimpleNamespace(max_pool2d=wrong, interpolate=F.interpolate))


def query_resized_bilinearly(patch):
    def wrong(x, size, mode):
        return F.interpolate(x, size, mode="bilinear")

    patch.setattr(global_query, "F", SimpleNamespace(max_pool2d=F.max_pool2d, interpolate=wrong))


def poolings_from_the_input(patch):
    """As many poolings as this input needs, not as the model was set up for."""
    right = global_query.GlobalQuery.forward

    def wrong(self, x):
        planned, needed = self.poolings, round((x.shape[1] / self.window[0] - 1) / 2)
        self.poolings = min(max(needed, 0), len(self.mbconvs))
        query = right(self, x)
        self.poolings = planned
        return query

    patch.setattr(global_query.GlobalQuery, "forward", wrong)


def transposed_bias(patch):
    """The offset of the key from the query instead of the query from the key."""
    right = attention.RelativePositionBias.forward
    patch.setattr(attention.RelativePositionBias, "forward", lambda self: right(self).transpose(1, 2))


def no_bias(patch):
    right = attention.RelativePositionBias.forward
    patch.setattr(attention.RelativePositionBias, "forward", lambda self: right(self) * 0)


def no_scale(patch):
    """Algorithm 1 leaves out 1/√d."""
    right = attention.WindowAttention.__init__

    def wrong(self, *args):
        right(self, *args)
        self.scale = 1.0

    patch.setattr(attention.WindowAttention, "__init__", wrong)


def approximate_gelu(patch):
    wrong = SimpleNamespace(gelu=lambda x: F.gelu(x, approximate="tanh"), linear=F.linear)
    patch.setattr(layers, "F", wrong)


def weights_without_mask(patch):
    right = attention.WindowAttention.weights
    patch.setattr(attention.WindowAttention, "weights", lambda self, q, k, padding: right(self, q, k, None))


def weights_without_bias(patch):
    def wrong(self, q, k, padding):
        bias = q.new_zeros(1, 1, 1) if padding is None else self.mask(q.new_zeros(1, 1, 1), padding)
        scores = q @ k.transpose(-1, -2) * self.scale + bias
        return scores.softmax(-1), scores.logsumexp(-1)

    patch.setattr(attention.WindowAttention, "weights", wrong)


def recording_changes_the_stage(patch):
    right = gcvit.Stage.forward
    patch.setattr(
        gcvit.Stage, "forward", lambda self, x, record=None: right(self, x, record) * (1 if record is None else 1.001)
    )


def drop_path_in_eval(patch):
    right = layers.DropPath.forward

    def wrong(self, x):
        training, self.training = self.training, True
        out = right(self, x)
        self.training = training
        return out

    patch.setattr(layers.DropPath, "forward", wrong)


def checkpoint_cuts_the_graph(patch):
    patch.setattr(
        gcvit, "checkpoint", lambda block, tokens, query, layout, use_reentrant: block(tokens, query.detach(), layout)
    )


def checkpoint_forgets_the_randomness(patch):
    right = gcvit.checkpoint
    patch.setattr(gcvit, "checkpoint", lambda *args, **named: right(*args, preserve_rng_state=False, **named))


def fold_forgets_the_shift(patch):
    right = folding._fold_norm

    def wrong(norm, linear):
        norm.bias.zero_()
        return right(norm, linear)

    patch.setattr(folding, "_fold_norm", wrong)


def fold_forgets_layer_scale(patch):
    patch.setattr(folding, "_fold_scale", lambda linear, scale: nn.Identity())


def fold_scales_twice(patch):
    """The attention's scale moves into the linear, and stays."""
    right = folding._fold_block

    def wrong(block, *settings):
        scale = block.attention.scale
        right(block, *settings)
        block.attention.scale = scale

    patch.setattr(folding, "_fold_block", wrong)


def first_key_only(patch):
    """Every query may attend to the first token of its window only."""
    right = attention.WindowAttention.in_windows

    def wrong(self, tokens, query, padding, closed):
        if padding is not None:
            padding = padding.clone()
            padding[:, 1:] = True
        return right(self, tokens, query, padding, closed)

    patch.setattr(attention.WindowAttention, "in_windows", wrong)
