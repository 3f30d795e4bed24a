"""The models and images that the laws are tried on, and how results are compared."""

from dataclasses import replace

import torch

from gcvit.model.config import GCViTConfig
from gcvit.model.gcvit import GCViT
from laws.weights import meaningful_weights

# Several windows in every stage: maps of 24, 12, 6, 3 tokens a side, the windows of stages 1, 3 and 4 leave a
# remainder (of 24 by 5, 6 by 4, 3 by 2), and queries pooled 2, 2, 1, 1 times, all but one resized.
SMALL = GCViTConfig(
    dim=8,
    depths=(2, 2, 2, 2),
    heads=(1, 2, 2, 4),
    mlp_ratio=2.0,
    drop_path=0.0,
    img_size=(96, 96),
    windows=((5, 5), (3, 3), (4, 4), (2, 2)),
    num_classes=11,
)


def small_model(seed=0, dtype=torch.float64, **changes):
    """SMALL with some fields changed, in eval mode, on weights that matter."""
    model = GCViT(replace(SMALL, **changes)).to(dtype)
    return meaningful_weights(model, seed).eval()


def random_images(count, height, width, channels=3, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, height, width, generator=generator, dtype=torch.float64).to(dtype)


def images32(count, height=64, width=64):
    return random_images(count, height, width, dtype=torch.float32)


def relative_error(actual, expected):
    """‖actual − expected‖ / ‖expected‖, in float64; a norm below 1e-6 is rounding noise and counts as 1e-6."""
    assert actual.shape == expected.shape, f"shapes {tuple(actual.shape)} and {tuple(expected.shape)} differ"
    actual, expected = actual.detach().double(), expected.detach().double()
    return ((actual - expected).norm() / expected.norm().clamp_min(1e-6)).item()


def assert_equal(actual, expected, what, tolerance=1e-10):
    """Equal up to rounding, tensor by tensor; NaN is never equal."""
    error = relative_error(actual, expected)
    assert error <= tolerance, f"{what}: relative error {error:.2e} > {tolerance:.0e}"


def real_tokens(size, window):
    """For each window in reading order, the indices of its tokens that lie on the map."""
    return [
        [
            y * window[1] + x
            for y in range(window[0])
            for x in range(window[1])
            if top + y < size[0] and left + x < size[1]
        ]
        for top in range(0, size[0], window[0])
        for left in range(0, size[1], window[1])
    ]
