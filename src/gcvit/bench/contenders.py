"""The models of a comparison: how one is named, and how those of one architecture are given the same weights."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches

import timm
import torch
from torch import Tensor, nn

from gcvit.factory import create_model, variant
from gcvit.model.gcvit import GCViT
from gcvit.model.variants import VARIANTS
from gcvit.weights.loading import load_weights

TIMM = "timm/"
CHECKED_IMAGES = 2


@dataclass(frozen=True)
class Contender:
    """A model and the form it is run in, written NAME[:folded][:channels_last][:compiled].

    name: one of ours ("gcvit_tiny") or, after "timm/", any of timm's ("timm/swin_tiny_patch4_window7_224").
    folded: our `model.fold()`, for inference. channels_last: images and convolutions in that memory format, otherwise
        images as a loader gives them. compiled: through `torch.compile`, for each batch size alone.

    Raises ValueError for a folded model that is not ours.
    """

    name: str
    folded: bool = False
    channels_last: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.folded and self.from_timm:
            raise ValueError(f"{self.name}:folded: only our own models fold; leave it out")

    def __str__(self) -> str:
        return ":".join([self.name, *(form for form in FORMS if getattr(self, form))])

    @property
    def from_timm(self) -> bool:
        """Whether timm builds it."""
        return self.name.startswith(TIMM)

    @property
    def architecture(self) -> str | None:
        """Our name for it if it is a GC ViT, whoever's: models of one architecture can have the same weights."""
        name = self.name.removeprefix(TIMM).split(".")[0].replace("gc_vit", "gcvit")
        return name if name in VARIANTS else None


FORMS = tuple(field.name for field in fields(Contender) if field.name != "name")


def parse(text: str) -> Contender:
    """A contender from its notation. Raises ValueError, with near names, for a model or a form that does not exist."""
    name, *forms = text.split(":")
    if unknown := [form for form in forms if form not in FORMS]:
        raise ValueError(f"{text}: there is no form {unknown[0]!r}; there are {', '.join(FORMS)}")
    if not name.startswith(TIMM):
        variant(name)
    elif not timm.is_model(name.removeprefix(TIMM)):
        near = get_close_matches(name.removeprefix(TIMM), timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(TIMM + n for n in near)}?" if near else "see timm.list_models()"
        raise ValueError(f"timm has no model {name.removeprefix(TIMM)!r}; {hint}")
    return Contender(name, **dict.fromkeys(forms, True))


def build(
    contenders: Sequence[Contender], size: int, *, same_weights: bool, no_drop_path: bool = False
) -> list[nn.Module]:
    """The models on the CPU in eval mode, for images of `size` pixels a side, with 1000 classes.

    same_weights: contenders of one architecture share random weights, large enough that every branch matters.
    no_drop_path: set every model's rate to 0, since their defaults differ; it is work in training only.

    Raises ValueError for a size that timm does not build a model for, or at which ours and timm's have other windows.
    """
    models = [_create(contender, size, 0.0 if no_drop_path else None) for contender in contenders]
    if same_weights:
        for architecture in {c.architecture for c in contenders} - {None}:
            group = [m for c, m in zip(contenders, models, strict=True) if c.architecture == architecture]
            _share_weights(group)
    return [
        model.fold() if contender.folded and isinstance(model, GCViT) else model.eval()
        for contender, model in zip(contenders, models, strict=True)
    ]


@torch.inference_mode()
def differences(
    contenders: Sequence[Contender], models: Sequence[nn.Module], size: int, tolerance: float = 1e-4
) -> list[float | None]:
    """How far each model's logits are from those of the first of its architecture, ‖Δ‖ / ‖first‖; None where no
    earlier one is. Computed eagerly, on the CPU, in fp32. Raises ValueError above `tolerance`."""
    images = torch.randn(CHECKED_IMAGES, 3, size, size, generator=torch.Generator().manual_seed(0))
    firsts: dict[str, tuple[Contender, Tensor]] = {}
    found: list[float | None] = []
    for contender, model in zip(contenders, models, strict=True):
        difference = None
        if (architecture := contender.architecture) is not None:
            logits = model(images)
            first, expected = firsts.setdefault(architecture, (contender, logits))
            if logits is not expected:
                difference = ((logits - expected).norm() / expected.norm()).item()
                if not difference <= tolerance:
                    raise ValueError(
                        f"{contender} and {first} have the same weights, but their logits differ by {difference:.1e} "
                        f"(more than {tolerance:.0e}), so they are not the same model and their speeds say nothing; "
                        f"leave one out, or compare without the same weights"
                    )
        found.append(difference)
    return found


def _create(contender: Contender, size: int, drop_path: float | None) -> nn.Module:
    if not contender.from_timm:
        return create_model(contender.name, img_size=size, drop_path=drop_path)
    name = contender.name.removeprefix(TIMM)
    published = timm.get_pretrained_cfg(name)
    fixed = size if published is not None and published.fixed_input_size else None
    try:
        return _create_timm(name, fixed, drop_path)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"timm does not build {name} for {size} px: {error}") from error


def _create_timm(name: str, img_size: int | None, drop_path: float | None) -> nn.Module:
    """timm passes on no setting that is None, since not every model takes each."""
    try:
        return timm.create_model(name, num_classes=1000, drop_path_rate=drop_path, img_size=img_size)
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        return timm.create_model(name, num_classes=1000, img_size=img_size)  # it has no drop path


def _share_weights(models: Sequence[nn.Module]) -> None:
    """timm's, if one is there, are the source: ours take any layout."""
    source = next((model for model in models if not isinstance(model, GCViT)), models[0])
    _fill(source)
    state = source.state_dict()
    for model in models:
        if isinstance(model, GCViT):
            report = load_weights(model, state)
            if report.resized:
                raise ValueError(
                    f"for this size ours and timm's have windows of other sizes ({report}); take a multiple of 32 px "
                    f"from 128 on, or compare without the same weights"
                )
        else:
            model.load_state_dict(state)


@torch.no_grad()
def _fill(model: nn.Module) -> None:
    """Random weights that matter: at initialisation even a wrong block would hardly move the logits. Matrices keep
    the variance of what they read, bias tables spread by 0.5, gains and layer scales lie around 1, biases around 0."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if name.endswith(("bias_table", "bias.table")):
            parameter.copy_(0.5 * values)
        elif parameter.ndim > 1:
            parameter.copy_(values / parameter[0].numel() ** 0.5)
        elif name.endswith(".bias"):
            parameter.copy_(0.1 * values)
        else:
            parameter.copy_(1 + 0.1 * values)
