"""What takes the place of a global query is what it is called, only while it is measured, and only in its stages."""

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import pytest
import torch

import gcvit
from gcvit.bench.queries import KINDS, kinds_in, measure_queries, other_queries
from gcvit.model import GCViT
from gcvit.model.config import Kind
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import HeldOut
from tasks import photos


@pytest.fixture
def model() -> GCViT:
    torch.manual_seed(0)
    model = gcvit.create_model("gcvit_pico", num_classes=3, img_size=32).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_each_kind_is_what_it_is_called(model: GCViT, images: torch.Tensor) -> None:
    own = model.trace(images).queries[1]
    found = {}
    for kind in KINDS:
        with other_queries(model, [1], kind):
            found[kind] = model.trace(images).queries[1]
    assert torch.equal(found["another's"][1:], own[:-1])
    torch.testing.assert_close(found["mean"], own.mean(0, keepdim=True).expand_as(own))
    assert not torch.equal(found["shuffled"], own)
    assert torch.equal(found["shuffled"].sort(2).values, own.sort(2).values)
    assert not found["zero"].any()
    assert torch.equal(model.trace(images).queries[1], own)


def test_a_picture_alone_gets_the_query_of_the_one_before(model: GCViT, images: torch.Tensor) -> None:
    own = model.trace(images).queries[0]
    with other_queries(model, [0], "another's"):
        for number in range(1, 3):
            model(images[number - 1 : number])
            assert torch.equal(model.trace(images[number : number + 1]).queries[0], own[number - 1 : number])


def test_other_stages_keep_theirs_until_they_see_the_difference(model: GCViT, images: torch.Tensor) -> None:
    own = model.trace(images).queries
    with other_queries(model, [2], "zero"):
        others = model.trace(images).queries
    assert [torch.equal(a, b) for a, b in zip(own, others, strict=True)] == [True, True, False, False]


def test_all_is_measured_and_the_model_stays(model: GCViT, images: torch.Tensor) -> None:
    opened: Opened = photos.opened(model)
    before = model(images)
    held_out = HeldOut(photos.Photos([(40, 64)] * 6), "photographs")
    told: list[tuple[int, int]] = []
    found = measure_queries(opened, held_out, batch_size=3, progress=lambda *seen: told.append(seen))
    assert told == [(done, 6 * 21) for done in range(3, 6 * 21 + 1, 3)]
    assert [(row.kind, row.stages) for row in found] == [
        (kind, stages) for kind in KINDS for stages in ((0,), (1,), (2,), (3,), (0, 1, 2, 3))
    ]
    assert torch.equal(model(images), before)
    assert not any(module._forward_hooks for module in opened.folded.modules())


def test_zeros_are_told_as_the_blocks_use_them(model: GCViT, images: torch.Tensor) -> None:
    asked, same = "zeros: attention by the position bias alone", "zeros: every token gets the same"
    assert kinds_in(model.config)["zero"] == asked
    assert kinds_in(replace(model.config, blocks=("global_v", "global")))["zero"] == f"{same}, or {asked[7:]}"
    for kind in (name for name in get_args(Kind) if name.startswith("global_")):
        other, seen = GCViT(replace(model.config, blocks=("local", kind))).eval(), list[torch.Tensor]()
        assert kinds_in(other.config)["zero"] == same
        other.stages[0].blocks[1].attention.register_forward_hook(lambda *given, seen=seen: seen.append(given[-1]))
        with other_queries(other, [0], "zero"):
            other(images)
        torch.testing.assert_close(seen[0], seen[0].flatten(0, -2)[0].expand_as(seen[0]))


def test_what_has_no_queries_is_refused(model: GCViT) -> None:
    held_out = HeldOut(photos.Photos([(40, 64)] * 2), "photographs")
    local = GCViT(replace(model.config, blocks=("local", "local"))).eval()
    with pytest.raises(ValueError, match="has no global queries: its blocks are local, local"):
        measure_queries(photos.opened(local), held_out)
    with pytest.raises(ValueError, match="less than two"):
        measure_queries(photos.opened(model), HeldOut(photos.Photos([(40, 64)]), "one"))
