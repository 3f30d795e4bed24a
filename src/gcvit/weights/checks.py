"""What weights must be: of the names and shapes that are asked for, real, dense, each in memory of its own, and finite;
and a model's answers."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from gcvit.errors import UserError
from gcvit.weights.names import Shape
from gcvit.weights.resolve import CONFIG_FILE
from gcvit.wording import listed

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
DENSE = (Tensor, nn.Parameter)
SHOWN = 8  # names in a message


def check_described(shapes: Mapping[str, Shape], state: Mapping[str, Tensor], origin: str) -> None:
    """Raise UserError, listing the names, for weights that are not those of the model that config.json describes.

    shapes: those of the described model, by name.
    """
    check_named(shapes, state, f"{origin}: the weights are not those of the model that {CONFIG_FILE} describes")


def check_named(shapes: Mapping[str, Shape | None], state: Mapping[str, Tensor], complaint: str) -> None:
    """Raise UserError with a complaint and the names that are missing, left over or of another shape; None is any."""
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = {
        "missing": [name for name in shapes if name not in found],
        "left over": [name for name in found if name not in shapes],
        "of another shape": [
            f"{name} {found[name]} for {shape}"
            for name, shape in shapes.items()
            if shape is not None and found.get(name, shape) != shape
        ],
    }
    told = [f"{what} ({len(names)}): {listed(names, SHOWN)}" for what, names in wrong.items() if names]
    if told:
        raise UserError(f"{complaint}; {'; '.join(told)}")


def check_dense(state: Mapping[str, Tensor], origin: str) -> None:
    """Raise UserError, naming the tensors, unless each is an ordinary one in memory of its own: a small file could
    otherwise stand for any number of weights."""
    if special := [name for name, x in state.items() if type(x) not in DENSE or not _is_plain(x)]:
        raise UserError(
            f"{origin}: weights must be ordinary tensors, not empty, sparse, nested or without values: "
            f"{listed(special)}"
        )
    lie = sorted((x.device.type, x.data_ptr(), x.data_ptr() + _span(x) * x.itemsize, name) for name, x in state.items())
    repeated = [name for name, x in state.items() if x.numel() > _span(x)]
    for (device, _, end, name), (other, start, _, next_name) in pairwise(lie):
        if device == other and start < end and state[name].is_contiguous() and state[next_name].is_contiguous():
            repeated.append(next_name)
    sizes = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in state.values()}
    if repeated or sum(x.nbytes for x in state.values()) > sum(sizes.values()):
        raise UserError(
            f"{origin}: weights must not be views of each other: {listed(repeated or state)}; save them with .clone()"
        )


def check_values(state: Mapping[str, Tensor], origin: str, into: Mapping[str, Tensor]) -> None:
    """Raise UserError, naming the tensors, unless every one is of a floating-point type, or of its namesake's in `into`
    where that is none, and every value is finite, in its namesake's precision too.

    One pass that allocates nothing: 35 ms for the 200 million weights of gcvit_large on one core.
    """
    if wrong := [f"{name} ({_called(x.dtype)})" for name, x in state.items() if not _is_of_kind(x, into[name])]:
        raise UserError(
            f"{origin}: weights must be floating-point numbers ({listed(FLOATS, show=_called)}), not {listed(wrong)}; "
            f"convert them as whoever made them says, and save them again"
        )
    if broken := [name for name, tensor in state.items() if not _is_finite(tensor, into[name].dtype)]:
        raise UserError(
            f"{origin}: {len(broken):,} of {len(state):,} tensors hold NaN or infinite values (or too large ones for "
            f"{_called(into[broken[0]].dtype)}): {listed(broken)}; the training that made these weights diverged, or "
            f"the file is damaged: take an earlier checkpoint"
        )


def check_answers(answers: Tensor, origin: str) -> None:
    """Raise UserError unless what a model gave, logits or probabilities of any shape, is finite: weights that are
    finite may still overflow, most of all in half precision."""
    require_finite(not answers.numel() or _is_finite(answers, answers.dtype), origin)


def require_finite(finite: bool, origin: str) -> None:
    """Raise UserError where a model's answers are known not to be finite."""
    if not finite:
        raise UserError(
            f"{origin}: the model's answers are not finite numbers: its weights are too large to compute with, or the "
            f"training that made them diverged; take an earlier checkpoint, or --precision fp32 if it was another"
        )


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not (tensor.is_meta or tensor.is_nested) and tensor.numel() > 0


def _span(tensor: Tensor) -> int:
    """How many elements lie from the first to the last."""
    if not tensor.numel():
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _is_of_kind(tensor: Tensor, into: Tensor) -> bool:
    return tensor.dtype in FLOATS if into.is_floating_point() else tensor.dtype == into.dtype


def _is_finite(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether all values are finite in `dtype`; whole numbers always are."""
    if not tensor.is_floating_point():
        return True
    least, greatest = tensor.detach().aminmax()  # a NaN among the values is both
    most = torch.finfo(dtype).max
    # Compared as Python's numbers: in half precision float32's `most` would be an infinity.
    return -most <= least.item() and greatest.item() <= most


def _called(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
