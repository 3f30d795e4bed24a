"""Every GC ViT classification checkpoint that NVlabs and timm have published.

Both are trained by NVlabs and licensed CC BY-NC-SA 4.0, whatever timm's configuration field says: timm's files are
the 2022 weights, converted.
"""

import warnings
from dataclasses import dataclass

from gcvit.weights.preprocessing import Preprocessing

NON_COMMERCIAL = "CC BY-NC-SA 4.0"
NVLABS_REPO = "nvidia/GCViT"
TIMM_RELEASE = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights-morevit/"


@dataclass(frozen=True)
class CatalogueEntry:
    """One published file.

    name: what `create_model(pretrained=NAME)` and `load_weights` take, e.g. "gcvit_tiny.nvlabs".
    model: the variant it belongs to.
    location: a hub repository, or the URL of a release, that holds `file`.
    trained_on, top1: the data, and the published ImageNet-1K top-1 in percent.
    revision: of the hub repository.
    sha256: of the file, or how it begins; None where it is not known.
    """

    name: str
    model: str
    location: str
    file: str
    trained_on: str
    top1: float
    preprocessing: Preprocessing
    licence: str = NON_COMMERCIAL
    revision: str = "main"
    sha256: str | None = None

    @property
    def url(self) -> str:
        """Where a person can download the file by hand."""
        if self.location.startswith("https://"):
            return self.location + self.file
        return f"https://huggingface.co/{self.location}/resolve/{self.revision}/{self.file}"


def _nvlabs(model: str, file: str, top1: float, crop_pct: float = 0.875, size: int = 224) -> CatalogueEntry:
    crop_mode = "center" if size == 224 else "squash"
    return CatalogueEntry(
        name=f"{model}.nvlabs",
        model=model,
        location=NVLABS_REPO,
        file=f"{file}.pth.tar",
        trained_on="ImageNet-21K, then ImageNet-1K" if "21k" in file else "ImageNet-1K",
        top1=top1,
        preprocessing=Preprocessing((size, size), crop_pct, crop_mode),
    )


def _timm(model: str, file: str, top1: float) -> CatalogueEntry:
    return CatalogueEntry(
        name=f"{model}.timm",
        model=model,
        location=TIMM_RELEASE,
        file=f"{file}.pth",
        trained_on="ImageNet-1K",
        top1=top1,
        preprocessing=Preprocessing(),
        sha256=file.rpartition("-")[2],  # timm's files carry it in their names
    )


CATALOGUE: dict[str, CatalogueEntry] = {
    entry.name: entry
    for entry in (
        _nvlabs("gcvit_xxtiny", "gcvit_1k_xxtiny", 79.9, crop_pct=1.0),
        _nvlabs("gcvit_xtiny", "gcvit_1k_xtiny", 82.0),
        _nvlabs("gcvit_tiny", "gcvit_1k_tiny", 83.5, crop_pct=1.0),
        _nvlabs("gcvit_tiny2", "gcvit_1k_tiny2", 83.7),
        _nvlabs("gcvit_small", "gcvit_1k_small", 84.3),
        _nvlabs("gcvit_small2", "gcvit_1k_small2", 84.8),
        _nvlabs("gcvit_base", "gcvit_1k_base", 85.0, crop_pct=1.0),
        _nvlabs("gcvit_large", "gcvit_1k_large", 85.7, crop_pct=1.0),
        _nvlabs("gcvit_large_21k", "gcvit_21k_large_224", 86.6, crop_pct=1.0),
        _nvlabs("gcvit_large_384_21k", "gcvit_21k_large_384", 87.4, crop_pct=1.0, size=384),
        _nvlabs("gcvit_large_512_21k", "gcvit_21k_large_512", 87.6, crop_pct=1.0, size=512),
        # The 2022 weights; top-1 as the paper gives it.
        _timm("gcvit_xxtiny", "gcvit_xxtiny_224_nvidia-d1d86009", 79.8),
        _timm("gcvit_xtiny", "gcvit_xtiny_224_nvidia-274b92b7", 82.0),
        _timm("gcvit_tiny", "gcvit_tiny_224_nvidia-ac783954", 83.4),
        _timm("gcvit_small", "gcvit_small_224_nvidia-4e98afa2", 83.9),
        _timm("gcvit_base", "gcvit_base_224_nvidia-f009139b", 84.4),
    )
}


class LicenceNotice(UserWarning):
    """The weights' licence restricts what they may be used for."""


def default_entry(model: str) -> CatalogueEntry | None:
    """The NVlabs checkpoint of a variant, None for one that nobody has published."""
    return CATALOGUE.get(f"{model}.nvlabs")


def entry_for_file(file: str) -> CatalogueEntry | None:
    """The published checkpoint whose file has this name."""
    return next((entry for entry in CATALOGUE.values() if entry.file == file), None)


_told: set[str] = set()


def tell_licence(entry: CatalogueEntry) -> None:
    """Say, once per checkpoint and process, that its licence is non-commercial."""
    if entry.licence == NON_COMMERCIAL and entry.name not in _told:
        _told.add(entry.name)
        warnings.warn(
            f"the weights {entry.name} are licensed {entry.licence}: non-commercial use only",
            LicenceNotice,
            stacklevel=3,
        )
