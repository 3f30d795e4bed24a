"""segmentation_models_pytorch with our models as its encoders, `tu-gc_vit_*`."""

import pytest
import torch
from torch import Tensor, nn

import gcvit
from laws.weights import meaningful_weights

smp = pytest.importorskip("segmentation_models_pytorch")

ENCODER = "tu-gc_vit_pico"
IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", ["Unet", "UPerNet", "FPN", "Segformer"])
def test_a_model_on_our_encoder_runs_and_learns(kind: str) -> None:
    model = getattr(smp, kind)(encoder_name=ENCODER, encoder_weights=None, classes=4)
    logits = model(IMAGES)
    assert logits.shape == (2, 4, 64, 96)
    logits.square().mean().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


def test_what_the_decoder_sees_is_our_pyramid() -> None:
    encoder = smp.Unet(encoder_name=ENCODER, encoder_weights=None, classes=4).encoder
    meaningful_weights(encoder.eval())
    ours = gcvit.create_model("gcvit_pico", head=False).eval()
    ours.load_state_dict(_bare(encoder))
    with torch.no_grad():
        features, maps = encoder(IMAGES), ours.pyramid(IMAGES)
    assert list(encoder.out_channels)[-4:] == list(ours.config.channels)
    for found, expected in zip(features[-4:], maps, strict=True):
        torch.testing.assert_close(found, expected)
        assert expected.std() > 0.1


def test_images_of_a_batch_stay_apart() -> None:
    model = smp.UPerNet(encoder_name=ENCODER, encoder_weights=None, classes=4).eval()
    meaningful_weights(model)
    with torch.no_grad():
        torch.testing.assert_close(model(IMAGES[:1]), model(IMAGES)[:1], rtol=1e-4, atol=1e-4)


def test_other_channels_and_another_size_of_the_encoder() -> None:
    model = smp.Unet(encoder_name="tu-gc_vit_nano", encoder_weights=None, in_channels=5, classes=2, img_size=96)
    assert model(torch.randn(2, 5, 96, 96)).shape == (2, 2, 96, 96)


def _bare(encoder: nn.Module) -> dict[str, Tensor]:
    """Weights of the GC ViT inside, by its own names."""
    names = {name.rpartition("stem.conv.weight")[0] for name, _ in encoder.named_parameters() if "stem.conv.w" in name}
    (prefix,) = names
    return {name.removeprefix(prefix): value for name, value in encoder.state_dict().items() if name.startswith(prefix)}
