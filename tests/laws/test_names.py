"""State-dict names and shapes are a promise: checkpoints written today must load tomorrow.

names/NAME.txt holds a line for each entry, in order, written once. Where a test here fails, it is the model that
must go back, or a conversion that must be written; not the list.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gcvit.model import VARIANTS, GCViT

GOLDEN = Path(__file__).parent / "names"
NAMES = ["gcvit_xxtiny", "gcvit_small", "gcvit_nano"]


def names_and_shapes(config):
    with torch.device("meta"):
        model = GCViT(config)
    return [f"{name} {'×'.join(map(str, tensor.shape))}" for name, tensor in model.state_dict().items()]


def check_names(name, config):
    expected = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    found = names_and_shapes(config)
    assert sorted(set(expected) - set(found)) == [], "no longer in the state dict"
    assert sorted(set(found) - set(expected)) == [], "new in the state dict"
    assert found == expected, "the order of the state dict has changed"


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_names_are_stable(name):
    check_names(name, VARIANTS[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_scale": 0.1}, "new in the state dict"),
        ({"query_mbconvs": (3, 2, 1, 2)}, "new in the state dict"),
        ({"head": False}, "no longer in the state dict"),
        ({"num_classes": 10}, "no longer in the state dict"),
        ({"windows": 7}, "no longer in the state dict"),
    ],
)
def test_the_check_notices(changes, message):
    with pytest.raises(AssertionError, match=message):
        check_names("gcvit_xxtiny", replace(VARIANTS["gcvit_xxtiny"], **changes))


def test_every_entry_is_a_parameter():
    """No index or mask buffers: nothing in a checkpoint follows from something else."""
    with torch.device("meta"):
        model = GCViT(VARIANTS["gcvit_nano"])
    assert list(model.state_dict()) == [name for name, _ in model.named_parameters()]
    assert not list(model.buffers())
