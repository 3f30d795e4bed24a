"""What torch may be doing around a call that our own kernels know nothing of."""

import torch
from torch.autograd import forward_ad


def transformed() -> bool:
    """Whether derivatives are taken in forward mode (which a kernel would take for zero), or `torch.func` sees
    through what is called: `vmap`, `grad`, `jvp`…"""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()
