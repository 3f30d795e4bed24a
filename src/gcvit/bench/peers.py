"""Other people's models, called as ours are: what our heads stand on in the place of GC ViT, timm's Swin (Liu et al.,
2021) and others of timm's; and segmentation_models_pytorch's UPerNet, so that one task trains and measures them all."""

from collections.abc import Mapping
from typing import Any

import timm
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from torch import nn

from gcvit.bench.contenders import TIMM
from gcvit.errors import UserError
from gcvit.factory import create_model
from gcvit.model.config import Windows
from gcvit.model.gcvit import Images, Map
from gcvit.shell import install
from gcvit.tasks.pyramid import Backbone
from gcvit.tasks.segment.segmenter import SegmentationModel, SegmenterOutput

# Channels of the first stage, depths and heads, of the published sizes.
SWIN_SIZES = {
    "swin_tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
}
STRIDES = [4, 8, 16, 32]


def backbone(name: str, img_size: int, windows: Windows | None, drop_path: float | None = None) -> Backbone:
    """One of ours, Swin with its windows of 7 tokens, or timm's, by its name, without weights; timm/NAME is timm's
    though it be called as one of ours. img_size: in pixels, and windows: in tokens, of ours. drop_path: of ours, None
    for the variant's, and of Swin."""
    if name.startswith("gcvit"):
        return create_model(name, img_size=img_size, windows=windows, head=False, drop_path=drop_path)
    if name in SWIN_SIZES:
        return SwinPyramid(swin(*SWIN_SIZES[name], drop_path=drop_path or 0.0))
    return TimmPyramid(name.removeprefix(TIMM))


class SwinPyramid(nn.Module):
    """The maps of what `swin` builds; its classifier and final norm go."""

    def __init__(self, model: SwinTransformer) -> None:
        super().__init__()
        model.prune_intermediate_layers(len(model.feature_info), prune_norm=True, prune_head=True)
        self.model, self.channels = model, [stage["num_chs"] for stage in model.feature_info]

    def pyramid(self, images: Images) -> list[Map]:
        """Images are padded with zeros, right and below, to whole patches."""
        return self.model.forward_intermediates(
            pad_to(images, 4), norm=False, intermediates_only=True, output_fmt="NCHW"
        )  # type: ignore[return-value]  # maps alone


class TimmPyramid(nn.Module):
    """The maps of a model of timm's, by its name, at strides of 4 to 32. settings: further words for timm."""

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__()
        model: Any = timm.create_model(name, features_only=True, **settings)
        strides = model.feature_info.reduction()
        wanted = [strides.index(stride) for stride in STRIDES]
        model = timm.create_model(name, features_only=True, out_indices=wanted, **settings)
        self.model, self.channels = model, model.feature_info.channels()

    def pyramid(self, images: Images) -> list[Map]:
        return self.model(images)


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
    further words for timm. Raises UserError, naming the extra, when it is not installed.
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
            raise UserError(f"segmentation_models_pytorch is not installed ({error}); {install('interop')}") from error
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
