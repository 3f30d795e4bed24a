"""Small models with weights that matter, and their state dicts as others save them."""

import torch

import gcvit
from gcvit.weights.names import table
from gcvit.weights.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(size=(64, 64))


def pico(**kwargs):
    torch.manual_seed(kwargs.pop("seed", 0))
    model = gcvit.create_model("gcvit_pico", **{"num_classes": 5} | kwargs).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.2)
    return model


def renamed(model, layout):
    names = {row.gcvit: getattr(row, layout) for row in table(model.config)}
    return {names[name]: tensor.clone() for name, tensor in model.state_dict().items()}


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
