"""All that training changes."""

import warnings

from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gcvit import distributed
from gcvit.engine.optim import Layers, create_optimizer
from gcvit.engine.settings import OptimConfig


class State:
    """The weights, their moving average, the optimiser and the step counter.

    The model must be on its device already. `forward` is what a training step calls: the model itself or, among
    several processes, its wrapper that averages the gradients over them (and makes all start from rank 0's weights).
    `layers` are the optimiser's, for layer_decay.
    """

    def __init__(self, model: nn.Module, optim: OptimConfig, layers: Layers = ()) -> None:
        self.model = model
        self.forward = model
        if distributed.world_size() > 1:
            distributed.wait()  # for whoever reads its data slower
            # Weights of one input channel have gradients whose strides differ in an axis of length one.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            # Without the search for unused ones, buckets are put in another order after the first step, and sums of
            # three and more then differ in the last bit from those of a run that goes on. On a GPU they may. (torch
            # warns that it found none.)
            exact = next(model.parameters()).device.type == "cpu"
            self.forward = DistributedDataParallel(model, gradient_as_bucket_view=True, find_unused_parameters=exact)
        self.optimizer = create_optimizer(model, optim, layers)
        self.ema = None
        if optim.ema_decay is not None:
            self.ema = ModelEmaV3(model, optim.ema_decay, use_warmup=optim.ema_warmup)
        self.step = 0

    @property
    def result(self) -> nn.Module:
        """The model to evaluate and save: the moving average where there is one."""
        return self.model if self.ema is None else self.ema.module
