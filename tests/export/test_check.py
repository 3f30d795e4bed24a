"""The self-check finds what is wrong with an export and measures by how much."""

import re
from collections.abc import Callable
from math import inf, isnan
from time import sleep

import pytest
import torch
from torch import Tensor, nn

from gcvit.export.check import NOISE, TOLERANCE, Check, check, compare

Change = Callable[[Tensor], Tensor]
SIZE = (4, 6)


class Classifier(nn.Module):
    """A class for each column."""

    def forward(self, images: Tensor) -> Tensor:
        return images.sum((1, 2))


class Maps(nn.Module):
    def forward(self, images: Tensor) -> list[Tensor]:
        return [images, images[:, :, ::2, ::2] + 1]


def exported(model: nn.Module, change: Change = lambda x: x) -> Callable[[Tensor], list[Tensor]]:
    """A program that changes the last output."""

    def run(images: Tensor) -> list[Tensor]:
        found = model(images)
        *first, last = [found] if isinstance(found, Tensor) else found
        return [*first, change(last)]

    return run


def pictures(count: int = 7, batch: int = 3) -> list[Tensor]:
    return list(torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(5)).split(batch))


def checked(model: nn.Module, change: Change = lambda x: x) -> Check:
    return check(model, exported(model, change), SIZE, 3, {"pictures": pictures()})


def problem(model: nn.Module, change: Change, *, int8: bool = False, least: float = 0.95) -> str:
    return checked(model, change).problem(int8=int8, min_agreement=least) or ""


@pytest.mark.parametrize("model", [Classifier(), Maps()])
def test_what_is_equal_passes(model: nn.Module) -> None:
    found = checked(model)
    assert [(d.images, d.count, d.batch) for d in found.differences] == [
        (NOISE, 1, 1),
        (NOISE, 3, 3),
        ("pictures", 7, 3),
    ]
    assert {(d.largest, d.relative) for d in found.differences} == {(0.0, 0.0)}
    assert [d.agreement for d in found.differences] == pytest.approx([1.0] * 3)
    assert [speed.batch for speed in found.speeds] == [1, 3]
    assert min(min(speed.model_ms, speed.export_ms) for speed in found.speeds) > 0
    for int8 in (False, True):
        assert found.problem(int8=int8, min_agreement=1 - 1e-9) is None


def test_int8_is_timed_beside_the_same_file_in_fp32() -> None:
    def slow(images: Tensor) -> list[Tensor]:
        sleep(0.02)
        return [Classifier()(images)]

    fast = exported(Classifier())
    assert checked(Classifier()).slower_int8() is None
    assert check(Classifier(), fast, SIZE, 3, {}, slow).slower_int8() is None
    found = check(Classifier(), slow, SIZE, 3, {}, fast)
    assert all(speed.export_ms >= 20 for speed in found.speeds)
    assert re.fullmatch(
        r"batch 1: [\d.]+ against [\d.]+ ms, batch 3: [\d.]+ against [\d.]+ ms", found.slower_int8() or ""
    )


def test_differences_are_those_over_all_batches() -> None:
    def change(logits: Tensor) -> Tensor:
        return logits * torch.linspace(0.5, 1.5, len(logits))[:, None] + 0.1

    found = compare(Classifier(), exported(Classifier(), change), "pictures", pictures())
    expected = torch.cat([Classifier()(batch) for batch in pictures()])
    other = torch.cat([change(Classifier()(batch)) for batch in pictures()])
    assert found.largest == pytest.approx((other - expected).abs().max().item())
    assert found.relative == pytest.approx(((other - expected).norm() / expected.norm()).item())


def test_the_share_of_images_with_the_same_class() -> None:
    def change(logits: Tensor) -> Tensor:
        return torch.cat([-logits[:1], logits[1:]])  # of each batch of 3, 3 and 1 the first

    assert compare(Classifier(), exported(Classifier(), change), "x", pictures()).agreement == pytest.approx(4 / 7)


def test_the_share_of_pixels_with_the_same_class() -> None:
    class Pixels(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images

    def change(logits: Tensor) -> Tensor:
        return torch.cat([-logits[..., :1], logits[..., 1:]], 3)  # one column of six

    assert compare(Pixels(), exported(Pixels(), change), "x", pictures()).agreement == pytest.approx(5 / 6)


def test_the_worst_map_counts() -> None:
    def change(last: Tensor) -> Tensor:
        return 0.9 * last + 0.3

    found = compare(Maps(), exported(Maps(), change), "x", pictures())
    expected = torch.cat([Maps()(batch)[1] for batch in pictures()]).flatten()
    assert found.relative == pytest.approx(((change(expected) - expected).norm() / expected.norm()).item(), rel=1e-5)
    cosine = torch.nn.functional.cosine_similarity(change(expected), expected, dim=0).item()
    assert cosine < 0.999
    assert found.agreement == pytest.approx(cosine, rel=1e-5)


@pytest.mark.parametrize("model", [Classifier(), Maps()])
def test_rounding_passes_and_more_does_not(model: nn.Module) -> None:
    assert problem(model, lambda x: x * (1 + 0.5 * TOLERANCE)) == ""
    assert "off by 2.0e-04 relative" in problem(model, lambda x: x * (1 + 2 * TOLERANCE))
    assert problem(model, lambda x: x * 1.01, int8=True) == ""


def test_images_that_see_their_batch_mates_are_found() -> None:
    assert "noise, batch 3" in problem(Classifier(), lambda logits: logits + 0.01 * (logits - logits.mean(0)))


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x * float("nan"),
        lambda x: torch.where(torch.arange(x.shape[-1]) == 0, inf, x),
        lambda x: x[..., 1:],
        lambda x: x[:1].expand(2, *x.shape[1:]),
    ],
)
@pytest.mark.parametrize("model", [Classifier(), Maps()])
def test_what_is_no_result_is_refused(model: nn.Module, change: Change, int8: bool) -> None:
    assert "not numbers, or of another shape" in problem(model, change, int8=int8, least=0.0)


def test_a_number_that_is_none_is_shown() -> None:
    assert isnan(compare(Classifier(), exported(Classifier(), lambda x: x * float("nan")), "x", pictures()).largest)


def test_outputs_that_are_missing_are_refused() -> None:
    found = check(Maps(), lambda images: [images], SIZE, 3, {})
    assert "another shape" in str(found.problem(int8=True, min_agreement=0.0))


def test_int8_has_to_keep_the_classes_of_pictures_but_not_of_noise() -> None:
    def change(logits: Tensor) -> Tensor:
        return -logits if len(logits) == 3 else logits

    found = check(Classifier(), exported(Classifier(), change), SIZE, 3, {"pictures": pictures(8, 4)})
    assert found.problem(int8=True, min_agreement=1.0) is None
    found = check(Classifier(), exported(Classifier(), change), SIZE, 3, {"pictures": pictures(7, 3)})
    said = found.problem(int8=True, min_agreement=0.95)
    assert said is not None
    assert "agrees with fp32 in 14.3%, and --min-agreement asks for 95.0%" in said
    assert found.problem(int8=True, min_agreement=0.14) is None
