"""segmentation_models_pytorch's model, called as ours are, so that one task trains and measures them all."""

from collections.abc import Mapping

from torch import nn

from gcvit.bench.pyramids import pad_to
from gcvit.errors import UserError
from gcvit.model.gcvit import Images
from gcvit.shell import install
from gcvit.tasks.segment.segmenter import SegmentationModel, SegmenterOutput


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
