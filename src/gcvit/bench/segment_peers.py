"""Other segmentation models, called as ours are, so that one task trains and measures them all."""

from collections.abc import Mapping

import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from torch import nn

from gcvit.model.gcvit import Images, Map
from gcvit.tasks.segment.config import UPerNetConfig
from gcvit.tasks.segment.segmenter import PyramidSegmenter, SegmentationModel, SegmenterOutput

# Channels of the first stage, depths and heads, of the published sizes.
SWIN_SIZES = {
    "swin_tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
}


class SwinSegmenter(PyramidSegmenter):
    """Our norms and UPerNet on timm's Swin (Liu et al., 2021), in the place of GC ViT.

    backbone: what `swin` builds; its classifier and final norm go. classes, head: as for `Segmenter`.
    """

    def __init__(self, backbone: SwinTransformer, classes: int, head: UPerNetConfig) -> None:
        super().__init__([stage["num_chs"] for stage in backbone.feature_info], classes, head)
        backbone.prune_intermediate_layers(len(backbone.feature_info), prune_norm=True, prune_head=True)
        self.backbone = backbone

    def pyramid(self, images: Images) -> list[Map]:
        """Four NCHW maps. Images are padded with zeros, right and below, to whole patches."""
        images = pad_to(images, 4)
        maps = self.backbone.forward_intermediates(images, norm=False, intermediates_only=True, output_fmt="NCHW")
        assert isinstance(maps, list)
        return maps


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


class SmpSegmenter(SegmentationModel):
    """segmentation_models_pytorch's UPerNet, without an auxiliary head.

    encoder: of its own, such as "resnet50", or timm's, "tu-resnet50". channels: of its decoder. encoder_settings:
    further words for timm. Raises ValueError, naming the extra, when it is not installed.
    """

    def __init__(
        self,
        encoder: str,
        classes: int,
        channels: int = 256,
        encoder_settings: Mapping[str, object] | None = None,
    ) -> None:
        try:
            import segmentation_models_pytorch as smp
        except ImportError as error:
            raise ValueError(
                f"segmentation_models_pytorch is not installed ({error}); pip install 'gcvit[interop]'"
            ) from error
        super().__init__()
        self.classes = classes
        self.model: nn.Module = smp.UPerNet(
            encoder,
            encoder_weights=None,
            decoder_channels=channels,
            classes=classes,
            upsampling=1,
            **(encoder_settings or {}),
        )

    def forward(self, images: Images) -> SegmenterOutput:
        """Logits at a quarter of the picture's sides, rounded up. It takes multiples of 32 px only: images are padded
        with zeros, right and below, and the logits cut."""
        rows, columns = (-(-side // 4) for side in images.shape[2:])
        return SegmenterOutput(self.model(pad_to(images, 32))[:, :, :rows, :columns], None)


def pad_to(images: Images, multiple: int) -> Images:
    """Zeros on the right and below, up to a multiple of so many pixels a side."""
    below, right = (-side % multiple for side in images.shape[2:])
    return F.pad(images, (0, right, 0, below)) if below or right else images
