"""Run the model with its shape annotations checked at every call; started by test_types.py in a process of its own."""

import sys

from jaxtyping import install_import_hook

install_import_hook("gcvit.model", "beartype.beartype")

import torch  # noqa: E402
from jaxtyping import TypeCheckError  # noqa: E402

from gcvit.model import GCViT, attention, windows  # noqa: E402
from laws.models import SMALL, small_model  # noqa: E402

torch.set_num_threads(1)


def refused(function, *arguments):
    try:
        function(*arguments)
    except TypeCheckError:
        return True
    return False


for changes in ({}, {"head": False}, {"layer_scale": 0.1}, {"windows": None, "img_size": (64, 96)}):
    model = small_model(dtype=torch.float32, **changes)
    for size in [(96, 96), (33, 57), (64, 160)]:
        images = torch.randn(2, 3, *size)
        model(images)
        model.pyramid(images)
        model.trace(images, blocks="all")
        model.fold()(images)
    model.train().set_grad_checkpointing(True)
    out = model(images)
    (out[-1] if isinstance(out, list) else out).sum().backward()

model = GCViT(SMALL)
local = model.stages[0].blocks[0].attention
tokens, query = torch.randn(2, 4, 25, 8), torch.randn(2, 1, 25, 8)
local(tokens, query, windows.Layout())
wrong = {
    "an image without a batch": (model, torch.randn(3, 64, 64)),
    "whole numbers": (model.pyramid, torch.zeros(1, 3, 64, 64, dtype=torch.int64)),
    "a map where tokens belong": (local, torch.randn(2, 4, 5, 5, 8), query, windows.Layout()),
    "a query of another batch": (local, tokens, torch.randn(3, 1, 25, 8), windows.Layout()),
    "a mask of other windows": (local, tokens, query, windows.Layout(torch.zeros(3, 25, dtype=torch.bool))),
    "tokens where a map belongs": (windows.split, torch.randn(2, 24, 8), (5, 5)),
    "a bias of two kinds of tokens": (attention.WindowAttention.mask, torch.randn(1, 25, 24), None),
}
accepted = [what for what, call in wrong.items() if not refused(*call)]
sys.exit(f"accepted: {', '.join(accepted)}" if accepted else 0)
