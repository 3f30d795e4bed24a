"""Where attention carries anything from window to window: what a model's blocks can tell each other at a size."""

from dataclasses import replace

from gcvit.model import GCViTConfig
from gcvit.model.config import Pair
from gcvit.model.windows import grid


def carriers(config: GCViTConfig, size: Pair | None = None, *, same_windows: bool = False) -> int:
    """How many blocks attend beyond their own window at images of `size` (height, width) in pixels, None for the
    model's own. In a stage whose map is one window there is nothing beyond it, and a local block never does.

    same_windows: keep the windows of the model's own size, as a detector does; otherwise they grow with the image.
    """
    at = config if size is None else replace(config, img_size=size)
    windows = config.stage_windows if same_windows else at.stage_windows
    return sum(
        sum(kind != "local" for kind in kinds)
        for kinds, sides, window in zip(config.block_kinds, at.map_sizes, windows, strict=True)
        if grid(sides, window) != (1, 1)
    )
