"""transformers' wrapper of timm's models with ours inside."""

import pytest
import torch

import gcvit
from laws.weights import meaningful_weights

transformers = pytest.importorskip("transformers")

IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def config(*stages: int) -> object:
    return transformers.TimmBackboneConfig(
        backbone="gc_vit_pico", out_indices=stages or None, use_pretrained_backbone=False
    )


@pytest.mark.parametrize("stages", [(0, 1, 2, 3), (1, 3), (2,)])
def test_the_maps_of_the_stages_asked_for_are_our_pyramids(stages: tuple[int, ...]) -> None:
    backbone = meaningful_weights(transformers.AutoBackbone.from_config(config(*stages))).eval()
    assert isinstance(backbone, transformers.TimmBackbone)
    prefix = "_backbone.model."
    ours = gcvit.create_model("gcvit_pico", head=False).eval()
    state = {name.removeprefix(prefix): x for name, x in backbone.state_dict().items() if name.startswith(prefix)}
    ours.load_state_dict({name: state.get(name, x) for name, x in ours.state_dict().items()})
    with torch.no_grad():
        found, maps = backbone(IMAGES).feature_maps, ours.pyramid(IMAGES)
    assert list(backbone.channels) == [ours.config.channels[stage] for stage in stages]
    for x, stage in zip(found, stages, strict=True):
        torch.testing.assert_close(x, maps[stage])
        assert x.std() > 0.1


def test_it_learns() -> None:
    backbone = transformers.TimmBackbone(config(0, 1, 2, 3)).train()
    sum(x.square().mean() for x in backbone(IMAGES).feature_maps).backward()
    assert [name for name, weight in backbone.named_parameters() if weight.grad is None] == []


def test_its_own_upernet_stands_on_ours() -> None:
    settings = transformers.UperNetConfig(
        backbone_config=config(0, 1, 2, 3),
        hidden_size=16,
        auxiliary_in_channels=64,
        auxiliary_channels=8,
        num_labels=5,
    )
    model = transformers.UperNetForSemanticSegmentation(settings).train()
    labels = torch.randint(5, (2, 64, 96), generator=torch.Generator().manual_seed(1))
    output = model(pixel_values=IMAGES, labels=labels)
    assert output.logits.shape == (2, 5, 64, 96)
    output.loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
