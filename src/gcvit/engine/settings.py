"""What a person may set about how a run computes and learns: its precision, and the optimiser."""

from dataclasses import dataclass
from typing import Annotated, Literal

from gcvit.engine.fields import Range, check_fields
from gcvit.engine.schedule import LengthText, Shape, parse_length
from gcvit.errors import UserError, require
from gcvit.wording import listed

Precision = Literal["auto", "fp32", "bf16"]
LONGEST_PART = 200  # characters of a part's name
ROUNDED = 1 + 1e-9  # of a whole, which the sum of its parts may pass by rounding


@dataclass(frozen=True)
class OptimConfig:
    """How the weights are optimised: AdamW, warm-up and decay, clipping, a moving average of the weights."""

    lr: Annotated[float, Range(0, 1000, but=(0,))] = 1e-3
    """Peak learning rate, above 0 to 1,000."""
    schedule: Shape = "cosine"
    """How it falls from there to min_lr; linear is also called poly; steps divides it by 10 at each milestone."""
    milestones: tuple[LengthText, ...] = ("75%", "90%")
    """From when on the rate is a tenth, for the schedule steps alone: rising lengths from the start of the run, such as
    "27 epochs" "33 epochs", or shares of it."""
    lr_batch: Annotated[int | None, Range(1, 1_000_000)] = None
    """Batch size that lr is meant for, 1 to 1,000,000; another one scales lr by its share of this. None: lr as it
    is."""
    layer_decay: Annotated[float | None, Range(0, 1, but=(0,))] = None
    """Factor of the learning rate from each layer (block, downsampler, stem) to the one below it, above 0 to 1, for
    fine-tuning; none: the same rate everywhere."""
    lr_parts: Annotated[tuple[tuple[str, float], ...], Range(0, 1000)] = ()
    """Factors, 0 to 1,000, of the learning rate of parts of the model, such as backbone 0.1 decode_head 2. Parts are
    named as weights are, also backbone.stem; the longest name counts. They go on top of layer_decay."""
    weight_decay: Annotated[float, Range(0, 1000)] = 0.05
    """Decoupled, 0 to 1,000; on matrices, convolutions and position bias tables, not on biases, norms and scales."""
    betas: Annotated[tuple[float, float], Range(0, 1, but=(1,), said="two numbers from 0 to below 1")] = (0.9, 0.999)
    """Decay of AdamW's two moments, from 0 to below 1."""
    eps: Annotated[float, Range(1e-30, 1)] = 1e-8
    """Added to the root of the second moment, 1e-30 to 1."""
    clip_grad: Annotated[float | None, Range(0, 1_000_000_000, but=(0,))] = 5.0
    """Largest norm of all gradients together, above 0 to 1,000,000,000; none: no limit."""
    warmup: LengthText = "1 epoch"
    """Length of the linear warm-up from warmup_lr, part of the run: "500 steps", "2.5 epochs" (passes over the training
    images) or "5%" of the run; "0 steps": none."""
    cooldown: LengthText = "0 steps"
    """Length of the run's end at min_lr, in the same units; the whole run is too long."""
    warmup_lr: Annotated[float, Range(0, 1000)] = 1e-6
    """Learning rate of the first step when there is a warm-up, 0 to 1,000; above the peak it counts as the peak."""
    min_lr: Annotated[float, Range(0, 1000)] = 5e-6
    """Learning rate at the end, 0 to 1,000; above the peak it counts as the peak."""
    ema_decay: Annotated[float | None, Range(0, 1, but=(1,), said="from 0 to below 1, or none")] = 0.9998
    """Decay per step of the moving average of the weights that is evaluated and saved, from 0 to below 1; none: no
    average, the weights themselves."""
    ema_warmup: bool = True
    """Start with a shorter average: its decay is at most 1 - n^(-2/3) after n steps."""

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        check_fields(self)
        for key in ("warmup", "cooldown"):
            object.__setattr__(self, key, str(parse_length(key, getattr(self, key))))  # "1 epochs" is "1 epoch"
        milestones = tuple(str(parse_length("milestones", text)) for text in self.milestones)
        object.__setattr__(self, "milestones", milestones)
        parts = [part for part, _ in self.lr_parts]
        for part in parts:
            require(0 < len(part) <= LONGEST_PART, "lr_parts", part, f"names of up to {LONGEST_PART} characters")
        require(len(set(parts)) == len(parts), "lr_parts", parts, "different parts")

    def check_lengths(self, *, steps: float | None, epochs: float | None) -> None:
        """Raise UserError unless warm-up, cool-down and milestones fit a run of so many steps and epochs; what is
        counted in a unit in which the run's length is not known (None) is left alone."""
        # What is out of range has a message of its own.
        steps, epochs = (number if number and 0 < number < 1e12 else None for number in (steps, epochs))
        known = [f"{number:g} {unit}" for number, unit in ((epochs, "epochs"), (steps, "steps")) if number is not None]

        def share(key: str, text: str) -> float | None:
            found = parse_length(key, text).share(steps=steps, epochs=epochs)
            if found is not None and found > ROUNDED:
                raise UserError(
                    f"{key} ({text}) is longer than the run ({', '.join(known)}); shorten it: --{key} 10% for instance"
                )
            return found

        warmup, cooldown = share("warmup", self.warmup) or 0.0, share("cooldown", self.cooldown) or 0.0
        if warmup + cooldown > ROUNDED:
            raise UserError(
                f"warmup ({self.warmup}) and cooldown ({self.cooldown}) together are longer than the run "
                f"({', '.join(known)}); shorten one of them"
            )
        if cooldown >= 1:
            raise UserError(f"cooldown ({self.cooldown}) is the whole run ({', '.join(known)}); shorten it")
        if self.schedule != "steps":
            return
        require(bool(self.milestones), "milestones", self.milestones, "given for the schedule steps")
        places = [place for text in self.milestones if (place := share("milestones", text)) is not None]
        if places != sorted(places):
            raise UserError(f"milestones must rise, not {listed(self.milestones)}")

    def peak_lr(self, batch_size: int) -> float:
        """The peak learning rate of updates from `batch_size` images: linear in it where lr_batch is given."""
        return self.lr if self.lr_batch is None else self.lr * batch_size / self.lr_batch

    def describe_lr(self, batch_size: int) -> str:
        """The peak learning rate, and how it came about, in words."""
        said = f"peak learning rate {self.peak_lr(batch_size):.4g} at {batch_size} images per update"
        if self.lr_batch not in (None, batch_size):
            said += f": {self.lr:g} was set for {self.lr_batch}, and it scales with the batch"
        for key in ("warmup_lr", "min_lr"):
            if getattr(self, key) > self.peak_lr(batch_size):
                said += f"; {key}, {getattr(self, key):g}, is above it and counts as the same"
        if self.layer_decay is not None:
            said += f"; ×{self.layer_decay:g} for each layer further from the head"
        if self.lr_parts:
            said += f"; {listed([f'×{factor:g} in {part}' for part, factor in self.lr_parts])}"
        return said
