"""The models of a comparison, by name: whose each is and the form that it is run in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast, get_args

import timm

from gcvit.errors import UserError
from gcvit.export.formats import Format
from gcvit.factory import variant
from gcvit.model.variants import VARIANTS

TIMM = "timm/"
TORCHVISION = "torchvision/maskrcnn_resnet50_fpn_v2"
SWIN = {
    f"{TIMM}swin_{size}_patch4_window7_224": f"swin_{size}" for size in ("tiny", "small", "base")
}  # of which detectors have a form that takes any size
DETECTORS = ("gcvit_tiny", f"{TIMM}swin_tiny_patch4_window7_224", TORCHVISION)
PEERS = ("timm/gcvit_tiny", "timm/swin_tiny_patch4_window7_224", "timm/convnext_tiny", "timm/vit_small_patch16_224")

FORMS: Mapping[str, str] = {
    "folded": "our model.fold(), for inference",
    "channels_last": "images and convolutions in that memory format, otherwise images as a loader gives them",
    "sdpa": "our windows attend through torch's scaled_dot_product_attention, never through our kernel",
    "compiled": "through torch.compile, for each batch size alone",
    "blocks": "our blocks compiled once for each kind, with any batch",
    "cudagraph": "recorded once as a CUDA graph, then replayed; inference on a GPU",
    **{name: f"exported (ours folded) and run as {name}; inference on the CPU" for name in get_args(Format)},
    "int8": "with onnx or openvino: weights and activations of 8 bits, calibrated on noise (for speed only)",
}
RUNTIMES: tuple[str, ...] = get_args(Format)
OURS_ONLY = {"folded", "sdpa", "blocks"}
INFERENCE_ONLY = {"folded", "cudagraph", *RUNTIMES}
INT8 = {"onnx", "openvino"}


@dataclass(frozen=True)
class Contender:
    """A model and the form it is run in, written NAME[:FORM]…, with forms of `FORMS`.

    name: one of ours ("gcvit_tiny") or, after "timm/", any of timm's ("timm/swin_tiny_patch4_window7_224"); or, of
        detectors, torchvision's.

    Raises UserError for forms that do not exist, do not go together or are not for this model.
    """

    name: str
    forms: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if unknown := sorted(self.forms - set(FORMS)):
            raise UserError(f"{self.name}: there is no form {unknown[0]!r}; there are {', '.join(FORMS)}")
        if not self.ours and (ours := self.forms & OURS_ONLY):
            raise UserError(f"{self}: {_list(ours)} is for our own models; leave it out")
        runtimes = self.forms & {*RUNTIMES}
        if len(runtimes) > 1 or {"compiled", "blocks"} <= self.forms:
            raise UserError(f"{self}: a model runs in one way at a time; compare them as two models")
        if runtimes and (others := self.forms - runtimes - {"folded", "int8"}):
            raise UserError(f"{self}: an exported file is what it is; leave {_list(others)} out")
        if "int8" in self.forms and not runtimes & INT8:
            raise UserError(f"{self}: int8 goes with {' or '.join(sorted(INT8))}")

    def __str__(self) -> str:
        return ":".join([self.name, *(form for form in FORMS if form in self.forms)])

    @property
    def from_timm(self) -> bool:
        """Whether timm builds it."""
        return self.name.startswith(TIMM)

    @property
    def ours(self) -> bool:
        return not self.from_timm and self.name != TORCHVISION

    @property
    def runtime(self) -> Format | None:
        """What it is exported to, if it is."""
        return next((cast(Format, name) for name in RUNTIMES if name in self.forms), None)

    @property
    def folded(self) -> bool:
        """Whether it runs what `fold()` gives: a GC ViT of ours that is asked to, or exported."""
        return self.ours and ("folded" in self.forms or self.runtime is not None)

    @property
    def architecture(self) -> str | None:
        """Our name for it if it is a GC ViT, whoever's: models of one architecture can have the same weights."""
        name = self.name.removeprefix(TIMM).split(".")[0].replace("gc_vit", "gcvit")
        return name if name in VARIANTS else None


def parse(text: str, forms: Sequence[str] = ()) -> Contender:
    """A contender from its notation and further `forms`. Raises UserError, with near names, for a model or a form
    that does not exist."""
    name, *own = text.split(":")
    if name == TORCHVISION:
        return Contender(name, frozenset([*own, *forms]))
    if not name.startswith(TIMM):
        variant(name)
    elif not timm.is_model(name.removeprefix(TIMM)):
        near = get_close_matches(name.removeprefix(TIMM), timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(TIMM + n for n in near)}?" if near else "see timm.list_models()"
        raise UserError(f"timm has no model {name.removeprefix(TIMM)!r}; {hint}")
    return Contender(name, frozenset([*own, *forms]))


def _list(forms: frozenset[str] | set[str]) -> str:
    return " and ".join(sorted(forms))
