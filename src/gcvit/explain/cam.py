"""Class activation maps of a stage: from its map and, where they ask for a class, the gradient of the class's score.

Each is (rows, columns), at least 0, and not scaled. A map and its gradient are (channels, rows, columns).
"""

from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from gcvit.errors import UserError
from gcvit.explain.attention import PlaneMap
from gcvit.explain.settings import Cam

ChannelMap = Float[Tensor, "channels rows columns"]


def class_map(kind: Cam, activations: ChannelMap, gradient: ChannelMap | None) -> PlaneMap:
    """The map of a kind; gradient: None only for eigen-cam. Raises UserError for a kind that there is not."""
    if kind == "eigen-cam":
        return eigen_cam(activations)
    if kind not in get_args(Cam):
        raise UserError(f"there is no map {kind!r}; there are {', '.join(get_args(Cam))}")
    assert gradient is not None
    return grad_cam(activations, gradient) if kind == "grad-cam" else element_wise(activations, gradient)


def grad_cam(activations: ChannelMap, gradient: ChannelMap) -> PlaneMap:
    """(Σ_c w_c a_c)₊ with w_c the gradient's mean over the map (Selvaraju et al., 2017)."""
    return (activations * gradient.mean((1, 2), keepdim=True)).sum(0).clamp_min(0)


def element_wise(activations: ChannelMap, gradient: ChannelMap) -> PlaneMap:
    """Σ_c (a_c ⊙ ∂y/∂a_c)₊, place by place, without the mean."""
    return (activations * gradient).clamp_min(0).sum(0)


def eigen_cam(activations: ChannelMap) -> PlaneMap:
    """The map's first principal component over its places (Muhammad and Yeasin, 2020). It knows of no class: it shows
    what is unlike the rest. Its sign, which the decomposition leaves open, is that in which the map is longest."""
    tokens = activations.flatten(1).T.double()
    centred = tokens - tokens.mean(0)
    first = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    found = centred @ first
    lengths = tokens.norm(dim=1)
    if (found * (lengths - lengths.mean())).sum() < 0:
        found = -found
    return found.reshape(activations.shape[1:]).clamp_min(0).to(activations.dtype)
