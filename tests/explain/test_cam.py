"""Class activation maps beside an independent implementation, pytorch-grad-cam."""

from typing import Any

import numpy as np
import pytest
import torch
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMElementWise
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from explain.models import NAMES, classifier, image
from gcvit.explain import Look
from gcvit.explain.cam import class_map, eigen_cam
from gcvit.tasks.opened import Opened

THEIRS = {"grad-cam": GradCAM, "element-wise": GradCAMElementWise, "eigen-cam": EigenCAM}


def theirs(method: Any, opened: Opened, picture: Tensor, stage: int, label: int) -> np.ndarray:
    """Their map, scaled to 0 to 1, at the stage's tokens; a stage gives (batch, rows, columns, channels)."""
    model = opened.model
    with method(
        model=model,
        target_layers=[model.stages[stage]],  # type: ignore[index]
        reshape_transform=lambda x: x.permute(0, 3, 1, 2),
    ) as cam:
        # What they do before they enlarge the map to the picture's size.
        cam.get_target_width_height = lambda images: None
        (found,) = cam(input_tensor=picture, targets=[ClassifierOutputTarget(label)])
    return found / found.max()  # which they leave a little below 1


@pytest.mark.parametrize("stage", range(4))
@pytest.mark.parametrize("kind", THEIRS)
def test_equal_to_theirs(kind: Any, stage: int) -> None:
    opened, picture = classifier(), image()
    seen = Look(opened, picture)
    for wanted in (None, "class d"):
        target = seen.target(wanted)
        ours = seen.cam(wanted, stage, kind).numpy()
        expected = theirs(THEIRS[kind], opened, picture, stage, NAMES.index(target.name))
        if kind == "eigen-cam":  # the decomposition leaves the sign open, and theirs is that of the library
            assert any(np.allclose(scaled(sign * signed(seen, stage)), expected, atol=1e-5) for sign in (1, -1))
            assert any(np.allclose(scaled(sign * signed(seen, stage)), scaled(ours), atol=1e-9) for sign in (1, -1))
        else:
            np.testing.assert_allclose(scaled(ours), expected, atol=1e-5)


def signed(seen: Look, stage: int) -> np.ndarray:
    """The first component, uncut."""
    activations = seen.trace.maps[stage].detach()[0]
    centred = activations - activations.mean((1, 2), keepdim=True)
    u, s, _ = torch.linalg.svd(centred.flatten(1).T, full_matrices=False)
    return (u[:, 0] * s[0]).reshape(activations.shape[1:]).numpy()


def scaled(found: np.ndarray) -> np.ndarray:
    found = np.maximum(found, 0)
    found = found - found.min()
    return found / found.max()


def test_a_map_asks_for_its_class() -> None:
    seen = Look(classifier(), image())
    for kind in ("grad-cam", "element-wise"):
        assert not torch.equal(seen.cam("class a", 1, kind), seen.cam("class b", 1, kind))
    assert torch.equal(seen.cam("class a", 1, "eigen-cam"), seen.cam("class b", 1, "eigen-cam"))


def test_eigen_cam_has_one_sign() -> None:
    """Lit where the map is long, whichever way its directions point."""
    activations = 0.1 * torch.randn(6, 8, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    activations[:, 2:4, 3:6] += torch.tensor([1.0, -2, 3, 1, 0, 2])[:, None, None]
    for found in (eigen_cam(activations), eigen_cam(-activations)):
        assert found[2:4, 3:6].min() > 10 * found[5:].max().clamp_min(1e-3) > 0


def test_an_unknown_map_is_refused() -> None:
    with pytest.raises(Exception, match="no map 'gradcam'; there are grad-cam, element-wise, eigen-cam"):
        class_map("gradcam", torch.zeros(1, 2, 2), torch.zeros(1, 2, 2))  # type: ignore[arg-type]
