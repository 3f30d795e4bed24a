"""From what a person calls weights to their checkpoint: what it means, what is not on the disk yet fetched through the
hub client with its cache, pinned as far as is known, and read."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError
from torch.hub import download_url_to_file, get_dir

from gcvit.errors import UserError
from gcvit.files import sha256_of
from gcvit.meta import check_result
from gcvit.model.variants import VARIANTS
from gcvit.weights.catalogue import CatalogueEntry, tell_licence
from gcvit.weights.checks import check_named
from gcvit.weights.names import shapes_of
from gcvit.weights.reading import Checkpoint, checkpoint_of, read_checkpoint
from gcvit.weights.resolve import CONFIG_FILE, PICKLED_FILE, WEIGHTS_FILE, Source, resolve

Weights = str | Path | Source | Mapping[str, object] | Checkpoint

GIVEN = "the given dict"

# The client's HTTP error derives from the base of all errors of the network library that it uses, which depends on its
# release; a release's download may also end with a wrong hash (RuntimeError).
FAILURES: tuple[type[Exception], ...] = (
    *(base for base in HfHubHTTPError.__mro__ if base not in (Exception, BaseException, object)),
    *(HFValidationError, OSError, RuntimeError),
)


def find(source: Weights, *, ema: bool = False) -> Checkpoint:
    """Read what `source` names (see `load_weights`), fetching it if need be; says its licence if that restricts.

    A checkpoint that was read already comes back as it is, so that whoever opens a model in steps reads it once.
    Raises UserError as `resolve` and `read_checkpoint` do, for weights that are not what their run has saved
    (`check_result`), and for exported files, whose weights cannot be taken out.
    """
    if isinstance(source, Checkpoint):
        return source
    if isinstance(source, Mapping):
        return checkpoint_of(source, GIVEN, Checkpoint({}, GIVEN), ema=ema)
    source = resolve(source)
    if source.kind == "exported file":
        raise UserError(f"{source.name} is an exported file, which only runs; give the checkpoint that it came from")
    if source.path is not None:
        is_file = source.kind == "file"
        check_result(source.path.parent if is_file else source.path, [source.path.name] if is_file else None)
    checkpoint = read_checkpoint(fetch(source), ema=ema)
    if source.entry is None:
        return checkpoint
    tell_licence(source.entry)
    shapes, state = shapes_of(VARIANTS[source.entry.model]), checkpoint.gcvit.state
    if source.kind == "file" and shapes != {name: tuple(tensor.shape) for name, tensor in state.items()}:
        return checkpoint  # others may give this name to files of their own
    check_named(shapes, state, f"{checkpoint.origin} is not the published {source.entry.name}")
    return replace(checkpoint, entry=source.entry)


def fetch(source: Source) -> Path:
    """The file or folder of a source on this disk, fetched when it is not in the cache yet.

    Raises UserError when it cannot be fetched, at the first failure, with what to place where; and for a published
    file whose SHA-256 is another than the catalogue's.
    """
    if source.path is not None:
        return source.path
    if source.repository is not None:
        return fetch_hub_directory(source.repository, source.revision)
    assert source.entry is not None, "a published name has a row in the catalogue"
    return fetch_entry(source.entry)


def fetch_entry(entry: CatalogueEntry) -> Path:
    """The file of a published checkpoint, as it is in the catalogue."""
    placed = Path(get_dir()) / "checkpoints" / entry.file
    try:
        if placed.is_file():
            found = placed
        elif entry.location.startswith("https://"):
            found = _from_release(entry, placed)
        else:
            found = _from_hub(entry.location, entry.file, entry.revision)
    except FAILURES as error:
        raise UserError(
            f"the weights {entry.name} could not be fetched ({_reason(error)}). On a machine with a network, download "
            f"{entry.url} and place it here as {placed}, "
            f"or give its path instead of the name"
        ) from error
    _verify(found, entry)
    return found


def fetch_hub_directory(repository: str, revision: str | None = None) -> Path:
    """A hub repository in timm's format ("owner/name"), as a local folder with config.json and the weights of the same
    commit. revision: a branch, tag or commit; None for the newest."""
    try:
        config = _from_hub(repository, CONFIG_FILE, revision)
        commit = config.parent.name  # of the snapshot: the branch may go on between the two files
        try:
            _from_hub(repository, WEIGHTS_FILE, commit)
        except EntryNotFoundError:
            _from_hub(repository, PICKLED_FILE, commit)
    except FAILURES as error:
        raise UserError(
            f"{repository}: no such file here, and as a hub repository it could not be fetched ({_reason(error)}). "
            f"The hub's cache is {constants.HF_HUB_CACHE}; offline, copy the model's folder here and pass its path"
        ) from error
    return config.parent


def _from_hub(repository: str, file: str, revision: str | None) -> Path:
    """A file of a repository: of a stated revision from the cache, if it is there, else as the hub has it now, or the
    cached one where the hub cannot be reached."""
    cached = None if revision is None else try_to_load_from_cache(repository, file, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    try:
        # Once: downloading would try five times and wait in between.
        get_hf_file_metadata(hf_hub_url(repository, file, revision=revision))
    except HfHubHTTPError:
        pass  # it was reached; what is wrong will be said next
    except FAILURES as unreachable:
        try:
            return Path(hf_hub_download(repository, file, revision=revision, local_files_only=True))
        except FAILURES:
            raise unreachable from None
    return Path(hf_hub_download(repository, file, revision=revision))


def _from_release(entry: CatalogueEntry, place: Path) -> Path:
    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    with suppress(HTTPError):  # then it was reached; downloading itself would wait without a limit
        urlopen(Request(entry.url, method="HEAD"), timeout=constants.HF_HUB_ETAG_TIMEOUT).close()
    place.parent.mkdir(parents=True, exist_ok=True)
    download_url_to_file(entry.url, str(place), entry.sha256)  # a broken download does not stay
    return place


def _verify(file: Path, entry: CatalogueEntry) -> None:
    if entry.sha256 is None:
        return
    found = sha256_of(file)
    if not found.startswith(entry.sha256):
        raise UserError(
            f"{file} is not the published file of {entry.name}: its SHA-256 begins with {found[: len(entry.sha256)]}, "
            f"not {entry.sha256}. Remove it and download {entry.url} again; if you trust it, give it as a path"
        )


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
