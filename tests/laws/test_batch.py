"""An image's outputs depend on that image alone, not on its batch-mates nor on its place among them."""

import pytest
import torch

from laws import bugs
from laws.models import assert_equal, random_images, small_model

# Windows that fill the maps, and windows that leave a remainder: the two ways through attention.
EXACT = ((6, 6), (3, 3), (3, 3), (1, 3))
SETTINGS = {"exact windows": {"windows": EXACT}, "padded windows": {}}


@torch.no_grad()
def check_batch(model):
    images = random_images(3, *model.config.img_size)
    together, maps = model(images), model.pyramid(images)
    for i in range(3):
        assert_equal(together[i], model(images[i : i + 1])[0], f"logits of image {i} in a batch and alone")
        for stage, alone in enumerate(model.pyramid(images[i : i + 1])):
            assert_equal(maps[stage][i], alone[0], f"map {stage} of image {i} in a batch and alone")
    order = torch.tensor([2, 0, 1])
    assert_equal(model(images[order]), together[order], "logits of the batch in another order")
    changed = images.clone()
    changed[1:] = random_images(2, *model.config.img_size, seed=9) * 5
    assert_equal(model(changed)[0], together[0], "logits beside other batch-mates")
    assert (together[0] - together[1]).norm() > 0.1 * together[0].norm(), "images too alike to tell apart"


@pytest.mark.parametrize("setting", SETTINGS)
def test_logits_do_not_depend_on_batch_mates(setting):
    check_batch(small_model(**SETTINGS[setting]))


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "bug", [bugs.tiled_query, bugs.query_of_first_image, bugs.gate_over_batch], ids=lambda bug: bug.__name__
)
def test_the_check_notices(bug, setting, monkeypatch):
    model = small_model(**SETTINGS[setting])
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="in a batch and alone"):
        check_batch(model)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fused on the CPU", "plain"])
def test_no_images_give_results_of_no_images(setting, dtype):
    """With everything else in its shape, and gradients that are zero, folded and traced alike."""
    model = small_model(dtype=dtype, **SETTINGS[setting])
    none, one = (random_images(count, 96, 80, dtype=dtype) for count in (0, 1))
    for ours in (model, model.fold(), model.train()):
        assert ours(none).shape == (0, *ours(one).shape[1:])
        assert [map.shape[1:] for map in ours.pyramid(none)] == [map.shape[1:] for map in ours.pyramid(one)]
        assert len(ours.pyramid(none)[0]) == 0
    for through in (False, True):
        traced, alike = (model.eval().trace(images, "all", through=through) for images in (none, one))
        assert traced.attention.keys() == alike.attention.keys()
        for at, weights in traced.attention.items():
            assert weights.shape == (0, *alike.attention[at].shape[1:])
    model(none).sum().backward()
    assert not any(weight.grad is not None and weight.grad.any() for weight in model.parameters())
