"""Published and our own checkpoints: where they are, what their names mean, and strict loading."""

from gcvit.weights.catalogue import CATALOGUE, CatalogueEntry, LicenceNotice
from gcvit.weights.loading import LoadReport, load_weights
from gcvit.weights.preprocessing import Preprocessing

__all__ = ["CATALOGUE", "CatalogueEntry", "LicenceNotice", "LoadReport", "Preprocessing", "load_weights"]
