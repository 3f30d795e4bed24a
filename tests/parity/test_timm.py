"""timm's GC ViT and ours compute the same from the same weights."""

import timm
import torch

import gcvit
from laws.models import relative_error
from parity import fill


def filled_timm(name):
    """timm's own model; the weights are functions of its names, at sizes that make every part matter."""
    model = timm.create_model(name).eval()
    state = {
        key: fill.tensor(key, tuple(tensor.shape)) if tensor.is_floating_point() else tensor
        for key, tensor in model.state_dict().items()
        if not key.endswith("relative_position_index")
    }
    model.load_state_dict(state, strict=False)
    return model


@torch.no_grad()
def test_timm_state_dict_gives_timm_outputs():
    theirs, images = filled_timm("gcvit_xxtiny"), fill.images(3, 224)
    ours = gcvit.create_model("gcvit_xxtiny").eval()
    report = gcvit.load_weights(ours, theirs.state_dict())
    assert report.layout == "timm"
    assert not report.resized
    assert not report.dropped
    assert report.loaded == len(ours.state_dict())
    expected = theirs(images)
    assert relative_error(ours(images), expected) <= 1e-5
    assert relative_error(theirs.forward_features(images), expected_features(ours, images)) <= 1e-5
    assert (expected[0] - expected[1]).norm() > 0.05 * expected[0].norm(), "images too alike to tell apart"


def expected_features(model, images):
    """timm's features are the last map behind the final norm."""
    last = model.pyramid(images)[-1]
    return model.norm(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@torch.no_grad()
def test_the_check_notices_another_models_weights():
    theirs, images = filled_timm("gcvit_xxtiny"), fill.images(3, 224)
    ours = gcvit.create_model("gcvit_xxtiny").eval()
    state = theirs.state_dict()
    swapped = dict(state)
    first, second = "stages.1.blocks.0.norm1.weight", "stages.1.blocks.1.norm1.weight"
    swapped[first], swapped[second] = state[second], state[first]
    gcvit.load_weights(ours, swapped)
    assert relative_error(ours(images), theirs(images)) > 1e-4
