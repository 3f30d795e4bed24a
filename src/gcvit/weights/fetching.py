"""Getting published checkpoints through the hub client, with its cache and progress."""

from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from torch.hub import download_url_to_file, get_dir

from gcvit.weights.catalogue import CatalogueEntry
from gcvit.weights.reading import CONFIG_FILE, WEIGHTS_FILE

# The client's HTTP error derives from the base of all errors of the network library that it uses, which depends on its
# release; a release's download may also end with a wrong hash (RuntimeError).
FAILURES: tuple[type[Exception], ...] = (
    *(base for base in HfHubHTTPError.__mro__ if base not in (Exception, BaseException, object)),
    *(HFValidationError, OSError, RuntimeError),
)


def fetch_entry(entry: CatalogueEntry) -> Path:
    """The local file of a published checkpoint, fetched when it is not in the cache yet.

    Raises ValueError when it cannot be fetched, with what to download by hand and where to put it.
    """
    placed = Path(get_dir()) / "checkpoints" / entry.file
    if placed.is_file():
        return placed
    try:
        if entry.location.startswith("https://"):
            placed.parent.mkdir(parents=True, exist_ok=True)
            hash_prefix = entry.file.removesuffix(".pth").rpartition("-")[2]  # a broken download must not stay
            download_url_to_file(entry.url, str(placed), hash_prefix)
            return placed
        return Path(hf_hub_download(entry.location, entry.file))
    except FAILURES as error:
        raise ValueError(
            f"the weights {entry.name} could not be fetched ({_reason(error)}). On a machine with a network, download\n"
            f"  {entry.url}\nand place it here as\n  {placed}\n"
            f"or give its path instead of the name"
        ) from error


def fetch_hub_directory(repository: str) -> Path:
    """A hub repository in timm's format ("owner/name"), as a local directory with config.json and weights.

    Raises ValueError when it cannot be fetched.
    """
    try:
        config = Path(hf_hub_download(repository, CONFIG_FILE))
        hf_hub_download(repository, WEIGHTS_FILE)
    except FAILURES as error:
        raise ValueError(
            f"{repository}: no such file here, and as a hub repository it could not be fetched ({_reason(error)}). "
            f"The hub's cache is {HF_HUB_CACHE}; offline, copy the model's folder here and pass its path"
        ) from error
    return config.parent


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
