"""Published and our own checkpoints: where they are, what their names mean, and strict loading."""

from typing import TYPE_CHECKING

from gcvit.on_demand import shown_on_demand

if TYPE_CHECKING:
    from gcvit.weights.catalogue import CATALOGUE, CatalogueEntry, LicenceNotice
    from gcvit.weights.loading import LoadReport, load_weights
    from gcvit.weights.preprocessing import Preprocessing

__all__ = ["CATALOGUE", "CatalogueEntry", "LicenceNotice", "LoadReport", "Preprocessing", "load_weights"]

if not TYPE_CHECKING:
    _SHOWN = {
        "catalogue": ("CATALOGUE", "CatalogueEntry", "LicenceNotice"),
        "loading": ("LoadReport", "load_weights"),
        "preprocessing": ("Preprocessing",),
    }
    __getattr__, __dir__ = shown_on_demand(__name__, _SHOWN)
