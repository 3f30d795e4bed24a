"""timm's Swin (Liu et al., 2021) under our heads, in the place of GC ViT."""

import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer

from gcvit.model.gcvit import Images, Map
from gcvit.tasks.detect.detector import PyramidDetector
from gcvit.tasks.detect.settings import HeadConfig
from gcvit.tasks.segment.segmenter import PyramidSegmenter
from gcvit.tasks.segment.settings import UPerNetConfig

# Channels of the first stage, depths and heads, of the published sizes.
SWIN_SIZES = {
    "swin_tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
}


class SwinSegmenter(PyramidSegmenter):
    """Our norms and UPerNet on Swin.

    backbone: what `swin` builds; its classifier and final norm go. classes, head: as for `Segmenter`.
    """

    def __init__(self, backbone: SwinTransformer, classes: int, head: UPerNetConfig) -> None:
        super().__init__(_channels(backbone), classes, head)
        self.backbone = _without_head(backbone)

    def pyramid(self, images: Images) -> list[Map]:
        """Four NCHW maps. Images are padded with zeros, right and below, to whole patches."""
        return _maps(self.backbone, images)


class SwinDetector(PyramidDetector):
    """Our norms, feature pyramid, RPN and heads on Swin.

    backbone: what `swin` builds; its classifier and final norm go. classes, head: as for `Detector`.
    """

    def __init__(self, backbone: SwinTransformer, classes: int, head: HeadConfig) -> None:
        super().__init__(_channels(backbone), classes, head)
        self.backbone = _without_head(backbone)

    def pyramid(self, images: Images) -> list[Map]:
        """Four NCHW maps. Images are padded with zeros, right and below, to whole patches."""
        return _maps(self.backbone, images)


def swin(
    embed_dim: int,
    depths: tuple[int, ...],
    num_heads: tuple[int, ...],
    *,
    window: int = 7,
    drop_path: float = 0.2,
) -> SwinTransformer:
    """timm's Swin, with windows of `window` tokens a side at any image size: it pads, as in its own dense code."""
    return SwinTransformer(
        img_size=32 * window,  # any other size works too; the windows stay
        window_size=window,
        embed_dim=embed_dim,
        depths=depths,
        num_heads=num_heads,
        num_classes=0,
        drop_path_rate=drop_path,
        strict_img_size=False,
        always_partition=True,
    )


def pad_to(images: Images, multiple: int) -> Images:
    """Zeros on the right and below, up to a multiple of so many pixels a side."""
    below, right = (-side % multiple for side in images.shape[2:])
    return F.pad(images, (0, right, 0, below)) if below or right else images


def _channels(backbone: SwinTransformer) -> list[int]:
    return [stage["num_chs"] for stage in backbone.feature_info]


def _without_head(backbone: SwinTransformer) -> SwinTransformer:
    backbone.prune_intermediate_layers(len(backbone.feature_info), prune_norm=True, prune_head=True)
    return backbone


def _maps(backbone: SwinTransformer, images: Images) -> list[Map]:
    images = pad_to(images, 4)
    maps = backbone.forward_intermediates(images, norm=False, intermediates_only=True, output_fmt="NCHW")
    assert isinstance(maps, list)
    return maps
