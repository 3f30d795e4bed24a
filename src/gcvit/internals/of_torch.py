"""torch's private parts."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.data import DataLoader

from gcvit.errors import UserError

# Kernels: where torch does not say what it does around a call, the plain computation is right under all of it.


def transformed() -> bool:
    """Whether derivatives are taken in forward mode (which a kernel would take for zero), or `torch.func` sees through
    what is called: `vmap`, `grad`, `jvp`… Missing: True."""
    level = getattr(forward_ad, "_current_level", 0)
    active = getattr(torch._C, "_are_functorch_transforms_active", None)
    return level >= 0 or active is None or active()


def is_fake(x: Tensor) -> bool:
    """Whether a tensor has a shape but no numbers, as in exports and counters. Missing: False."""
    kind = getattr(import_module("torch._subclasses"), "FakeTensor", None)
    return kind is not None and isinstance(x, kind)


def batched(gradient: Tensor) -> bool:
    """Whether it stands for many gradients at once (`is_grads_batched`). Missing: True."""
    tells = getattr(getattr(torch._C, "_functorch", None), "is_legacy_batchedtensor", None)
    return tells is None or tells(gradient)


def softmax_gradient(gradient: Tensor, weights: Tensor) -> Tensor:
    """Of the scores, from that of `weights`, their softmax over the last axis. Missing: by plain operators."""
    backward = getattr(torch.ops.aten, "_softmax_backward_data", None)
    if backward is None:
        return weights * (gradient - (gradient * weights).sum(-1, keepdim=True))
    return backward(gradient, weights, -1, weights.dtype)


@cache
def pointwise_linear() -> Callable[..., Tensor] | None:
    """oneDNN's linear layer with what follows it, which torch's compiler makes its own CPU code of. Missing: None."""
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


# The compiler.


def compiled_calls() -> bool:
    """Whether a module can be given a compiled call of its own, as `nn.Module.compile` gives it one."""
    return hasattr(nn.Module, "_compiled_call_impl") and hasattr(nn.Module, "_call_impl")


def set_compiled_call(module: nn.Module, call: Callable[..., Any]) -> None:
    """Have `module(…)` be `call(…)`; a copy of the module is not compiled."""
    module._compiled_call_impl = call


def has_compiled_call(module: nn.Module) -> bool:
    """Whether `module(…)` is compiled by itself. Missing: it is taken for not."""
    return getattr(module, "_compiled_call_impl", None) is not None


def plain_call(module: nn.Module, *inputs: Any) -> Any:
    """What `module(…)` is when it is not compiled, hooks included."""
    return module._call_impl(*inputs)


def free_axis(tensor: Tensor, axis: int, name: str, *, example: bool) -> None:
    """Tell the compiler that the axis may be of any length, the same for all axes of this name.

    example: it may look at the length that is there, and then a length of 1 is a case of its own. Missing: as with an
    example; and then: code for each length."""
    dynamo = import_module("torch._dynamo")
    if not example:
        try:
            dynamo.decorators.mark_unbacked(tensor, axis, shape_id=name)
            return
        except (AttributeError, TypeError):
            pass
    if hasattr(dynamo, "maybe_mark_dynamic"):
        dynamo.maybe_mark_dynamic(tensor, axis)


# Ahead-of-time compilation. Missing: an error that names another format.


def get_cpp_compiler() -> str:
    """The C++ compiler that torch would take. Raises RuntimeError where there is none; missing: "", not known."""
    find = getattr(_inductor("cpp_builder"), "get_cpp_compiler", None)
    return "" if find is None else find()


def compile_package(program: torch.export.ExportedProgram, path: str, settings: dict[str, Any]) -> None:
    """Write the program as machine code."""
    _ahead_of_time("aoti_compile_and_package")(program, package_path=path, inductor_configs=settings)


def load_package(path: str) -> Any:
    """What was written so."""
    return _ahead_of_time("aoti_load_package")(path)


def _ahead_of_time(name: str) -> Callable[..., Any]:
    function = getattr(_inductor(), name, None)
    if function is None:
        raise UserError(f"torch {torch.__version__} has no {name}, which aot needs; use openvino, onnx or torch-export")
    return function


def _inductor(part: str = "") -> Any:
    try:
        return import_module("torch._inductor" + (part and f".{part}"))
    except ImportError:
        return None


# Loading.


def shut_down_workers(loader: DataLoader) -> None:
    """End a loader's workers now; iterating starts others. After an error its traceback would keep them until Python
    exits, which asks them to end by SIGTERM, and that they heed late. That one had died is not told any more. Missing:
    they end then, or when nothing holds their iterator any more."""
    iterator = getattr(loader, "_iterator", None)
    end = getattr(iterator, "_shutdown_workers", None)
    if end is not None and loader.num_workers:
        loader._iterator = None
        with suppress(RuntimeError):  # torch tells of a process that has died wherever it finds the main thread
            end()


# Counters.


def pooling_operator() -> Any:
    """What adaptive pooling comes down to. Missing: the public one."""
    return getattr(torch.ops.aten, "_adaptive_avg_pool2d", torch.ops.aten.adaptive_avg_pool2d)
