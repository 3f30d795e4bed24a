"""Tar archives as places to read images from: which images there are, and at which bytes."""

import tarfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from gcvit.data import tar_index
from gcvit.data.images import is_image_name
from gcvit.data.members import Contents, Member
from gcvit.data.remarks import is_seen
from gcvit.data.samples import Samples
from gcvit.data.tar_headers import Header, read_headers
from gcvit.data.tar_index import index_path
from gcvit.errors import UserError

_KINDS = {
    tarfile.FIFOTYPE: "a FIFO; leave it out",
    tarfile.CHRTYPE: "a device; leave it out",
    tarfile.BLKTYPE: "a device; leave it out",
}
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


def contents_of(archive: Path) -> tuple[Contents, str]:
    """What the archive holds, and why its index could not be used, or nothing if it was.

    Without an index the archive's headers are read. Raises UserError, naming archive and member, for whatever
    :func:`scan` refuses, and OSError where the archive cannot be read.
    """
    stat, index = archive.stat(), index_path(archive)
    written = index.stat() if index.exists() else None
    changes = [(one.st_mtime_ns, one.st_ctime_ns) for one in (stat, written) if one]
    # Clocks of file systems are coarse: what was written just now may be written again at the same time.
    is_old = time.time_ns() - max(map(max, changes)) > 2e9
    read = _read if is_old else _read.__wrapped__
    images, passed_over, trouble = read(archive, stat.st_size, stat.st_mtime_ns, written is not None, tuple(changes))
    return Contents([source for source, _ in images if isinstance(source, Member)], passed_over), trouble


def scan(archive: Path) -> list[Member]:
    """Read all headers of an uncompressed tar archive and list its images, in their order of bytes.

    Folders, hidden files and files without an image's suffix are left out; of several with one name the last
    counts, as in unpacking.

    Raises:
        ValueError: not a tar file, compressed, cut off or damaged; or a member that is a link, a device, a FIFO
            or sparse, or whose name leads out of the archive.
    """
    return list(_scan(archive).images)


def write_index(archive: Path, progress: Callable[[int], None] = lambda done: None) -> tuple[Path, int]:
    """Write NAME.tar.index.json beside the archive; returns its path and the number of images.

    It carries the archive's own size and time, by which a stale one is noticed.
    Raises what :func:`scan` raises, and OSError where nothing can be written.
    """
    stat = archive.stat()
    contents = _scan(archive, progress)
    return tar_index.write(archive, contents, stat.st_size, stat.st_mtime_ns), len(contents.images)


def index_error(archive: Path) -> str | None:
    """What the archive's index says that its headers do not, with the first image that differs; None for nothing, and
    where there is no index that is used. Raises as :func:`scan`."""
    contents, trouble = contents_of(archive)
    if trouble:
        return None
    indexed, true = list(contents.images), scan(archive)
    wrong = next((one for one, other in zip(indexed, true, strict=False) if one != other), None)
    if wrong is None and len(indexed) == len(true):
        return None
    what = f"{wrong.name!r} is not where it says" if wrong else f"{len(indexed):,} images instead of {len(true):,}"
    return f"{what}; `gcvit data index` writes it anew"


@lru_cache(maxsize=4096)  # an archive is asked for its images more than once in a run
def _read(
    archive: Path, size: int, mtime_ns: int, indexed: bool, changes: tuple[tuple[int, int], ...]
) -> tuple[Samples, dict[str, dict[str, tuple[int, str]]], str]:
    """Images, other files, and why the index could not be used; `changes`, when there were any, is for the cache."""
    trouble = f"{archive} has no index"
    if indexed:
        found = tar_index.read(archive, size, mtime_ns)
        if isinstance(found, Contents):
            return _packed(found), found.passed_over, ""
        trouble = f"{archive}: {found}"
    found = _scan(archive)
    return _packed(found), found.passed_over, trouble


def _packed(contents: Contents) -> Samples:
    """Without labels, only because it is small: what is cached stays for the whole run, in every loader process."""
    return Samples((member, 0) for member in contents.images)


def _scan(archive: Path, progress: Callable[[int], None] = lambda done: None) -> Contents:
    images: dict[str, Member] = {}
    passed_over: dict[str, dict[str, tuple[int, str]]] = {}
    for number, header in enumerate(read_headers(archive)):
        parts = _checked(header, archive)
        if header.kind in _PLAIN and all(map(is_seen, parts)):
            name = "/".join(parts)
            if is_image_name(name):
                images.pop(name, None)
                images[name] = Member(archive, name, header.offset, header.size)
            else:
                _pass_over(passed_over, name)
        if number % 1000 == 0:
            progress(header.offset)
    progress(archive.stat().st_size)
    return Contents(list(images.values()), passed_over)


def _pass_over(passed_over: dict[str, dict[str, tuple[int, str]]], name: str) -> None:
    folder, _, file = name.rpartition("/")
    suffix = "." + file.rpartition(".")[2].lower() if "." in file else ""
    kinds = passed_over.setdefault(folder, {})
    number, example = kinds.get(suffix, (0, file))
    kinds[suffix] = number + 1, example


def _checked(header: Header, archive: Path) -> list[str]:
    """The folders and the file in a member's name; UserError for what has no place in a set of images."""
    parts = [part for part in header.name.split("/") if part not in ("", ".")]
    if header.name.startswith("/") or ".." in parts:
        raise UserError(
            f"{archive}: the name of {header.name!r} leads out of the archive; pack the images anew, with names within "
            "their folder (tar -cf NEW.tar -C FOLDER .)"
        )
    kind = None
    if header.kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        kind = f"a link to {header.link!r}; pack the images anew, as plain files (tar --dereference --hard-dereference)"
    elif header.sparse:
        kind = "sparse; pack the images anew, as plain files (tar without --sparse)"
    elif header.kind in _KINDS:
        kind = f"{_KINDS[header.kind]} when you pack the images anew"
    elif header.kind not in (*_PLAIN, tarfile.DIRTYPE):
        kind = "of an unknown kind; leave it out when you pack the images anew"
    if kind:
        raise UserError(f"{archive}: {header.name!r} is {kind}")
    return parts
