"""Whether an exported file computes what its model computes, and how fast."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from gcvit.errors import UserError
from gcvit.export.runtime import Program
from gcvit.model.config import Pair

TOLERANCE = 1e-4  # relative, of what computes in fp32
BATCHES = (1, 3)
REPEATS = 5
NOISE = "noise"
Pairing = Callable[[list[Tensor], list[Tensor]], tuple[list[Tensor], list[Tensor]]]


@dataclass(frozen=True)
class Difference:
    """Between what a model and an export give.

    images: which, NOISE or a name of pictures. count: how many of them. batch: how many at once, at most.
    largest: absolute difference. relative: ‖difference‖ / ‖model's‖, of the worst output.
    agreement: 0..1, share of images whose likeliest class is the same, of pixels for a segmentation model; for a
        backbone the cosine between its map and the export's, of the worst stage; of a single class's logits likewise.
    """

    images: str
    count: int
    batch: int
    largest: float
    relative: float
    agreement: float


@dataclass(frozen=True)
class Speed:
    """Median milliseconds for a batch, of the model in PyTorch, of the export and, where that is int8, of the same file
    in fp32; measured in turns."""

    batch: int
    model_ms: float
    export_ms: float
    fp32_ms: float | None = None


@dataclass(frozen=True)
class Check:
    """What was found."""

    differences: list[Difference]
    speeds: list[Speed]

    def slower_int8(self) -> str | None:
        """Which batches int8 is slower for than the same file in fp32 on this machine, and by how much; or None."""
        slower = [(s.batch, s.export_ms, s.fp32_ms) for s in self.speeds if s.fp32_ms and s.export_ms > s.fp32_ms]
        return ", ".join(f"batch {n}: {int8:.1f} against {fp32:.1f} ms" for n, int8, fp32 in slower) or None

    def problem(self, *, int8: bool, min_agreement: float) -> str | None:
        """Why the export must not be used, or None. What computes in fp32 agrees to TOLERANCE everywhere; int8 in as
        many classes on each kind of pictures as `min_agreement` asks for."""
        for found in self.differences:
            where = f"{found.images}, batch {found.batch}"
            if not isfinite(found.relative):
                return f"on {where} its outputs are not numbers, or of another shape than the model's"
            if not int8 and found.relative > TOLERANCE:
                return f"on {where} it is off by {found.relative:.1e} relative; {TOLERANCE:.0e} is rounding"
            if int8 and found.images != NOISE and found.agreement < min_agreement:
                share = f"{100 * found.agreement:.1f}%, and --min-agreement asks for {100 * min_agreement:.1f}%"
                return f"on {where} int8 agrees with fp32 in {share}; calibrate on more, or on likelier pictures"
        return None


def check(
    model: nn.Module,
    program: Program,
    size: Pair,
    in_chans: int,
    pictures: Mapping[str, Iterable[Tensor]],
    fp32: Program | None = None,
    paired: Pairing = lambda *both: both,
) -> Check:
    """Compare an export with its model, on the CPU in fp32.

    size: (height, width) of the images. pictures: batches of preprocessed ones, by what they are called.
    fp32: of an int8 export, the same file in fp32, to see which is faster. paired: puts the file's outputs and the
    model's into one order, see `Task.paired`.
    """
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(batch, in_chans, *size, generator=generator) for batch in BATCHES]
    differences = [compare(model, program, NOISE, [images], paired) for images in noise]
    differences += [compare(model, program, name, batches, paired) for name, batches in pictures.items()]
    return Check(differences, [_speed(model, program, fp32, images) for images in noise])


def compare(
    model: nn.Module, program: Program, name: str, batches: Iterable[Tensor], paired: Pairing = lambda *both: both
) -> Difference:
    """The difference on all these images, which are called `name`."""
    count, batch = 0, 0
    largest, sums, agreed = torch.zeros(()), torch.zeros(()), []
    for images in batches:
        count, batch = count + len(images), max(batch, len(images))
        expected, found = _outputs(model, images), program(images)
        if [x.shape for x in expected] != [x.shape for x in found]:
            return Difference(name, count, batch, inf, inf, 0.0)
        found, expected = paired(found, expected)
        largest = torch.stack([largest, *((a - b).abs().max() for a, b in zip(found, expected, strict=True))]).max()
        sums = sums + torch.stack([_squares(a, b) for a, b in zip(found, expected, strict=True)])
        agreed.append((found[0].argmax(1) == expected[0].argmax(1)).double().mean() * len(images))
        classes = expected[0].shape[1]
    if not count:
        raise UserError(f"{name}: there are no images to compare on")
    difference, ours, theirs = sums.unbind(1)
    tiny = torch.finfo(torch.float64).tiny
    cosine = (ours + theirs - difference) / (2 * (ours * theirs).sqrt()).clamp_min(tiny)
    cosine = torch.where(difference == 0, 1.0, cosine)  # of zeros, too
    relative = (difference / ours.clamp_min(tiny)).sqrt().max()
    agreement = sum(agreed, torch.zeros(())) / count if len(sums) == 1 and classes > 1 else cosine.min()
    return Difference(name, count, batch, float(largest), float(relative), float(agreement))


def _squares(found: Tensor, expected: Tensor) -> Tensor:
    """Squared norms in float64: of the difference, of what is expected, of what was found."""
    found, expected = found.double(), expected.double()
    return torch.stack([(found - expected).square().sum(), expected.square().sum(), found.square().sum()])


@torch.inference_mode()
def _outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
    found = model(images)
    return [found] if isinstance(found, Tensor) else list(found)


def _speed(model: nn.Module, program: Program, fp32: Program | None, images: Tensor) -> Speed:
    steps: list[Callable[[], object]] = [lambda: _outputs(model, images), lambda: program(images)]
    if fp32 is not None:
        steps.append(lambda: fp32(images))
        fp32(images)  # the others have run before
    turns = []
    for _ in range(REPEATS):
        moments = [perf_counter()]
        for step in steps:
            step()
            moments.append(perf_counter())
        turns.append([1e3 * (end - start) for start, end in pairwise(moments)])
    return Speed(len(images), *(median(lengths) for lengths in zip(*turns, strict=True)))
