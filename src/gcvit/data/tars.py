"""Tar archives as places to read images from: which images there are, and at which bytes; the index of these."""

import json
import tarfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path, PurePosixPath

from gcvit.data.images import IMAGE_SUFFIXES
from gcvit.data.members import Member
from gcvit.data.samples import Samples
from gcvit.files import write_atomically

FORMAT = 1  # of the index file

_BLOCK = 512  # bytes of a tar header
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def images_in(archive: Path) -> tuple[list[Member], str]:
    """The archive's images in their order of bytes, and why its index could not be used, or nothing if it was.

    Without an index the archive's headers are read. Raises ValueError, naming archive and member, for whatever
    :func:`scan` refuses, and OSError where the archive cannot be read.
    """
    stat, index = archive.stat(), index_path(archive)
    written = index.stat().st_mtime_ns if index.exists() else None
    members, trouble = _images_in(archive, stat.st_size, stat.st_mtime_ns, written)
    return [source for source, _ in members if isinstance(source, Member)], trouble


def scan(archive: Path, progress: Callable[[int], None] = lambda done: None) -> list[Member]:
    """Read all headers of an uncompressed tar archive and list its images, in their order of bytes.

    Folders, hidden files and files without an image's suffix are left out; of several with one name the last
    counts, as in unpacking.

    Args:
        archive: the file.
        progress: called now and then with the number of bytes done.

    Raises:
        ValueError: not a tar file, compressed, cut off or damaged; or a member that is a link, a device, a FIFO
            or sparse, or whose name leads out of the archive.
    """
    found: dict[str, Member] = {}
    try:
        with tarfile.open(archive, "r:") as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # or tarfile would keep every header in memory
                name = _checked(info, archive)
                if info.isreg() and _is_image(name):
                    found.pop(name, None)
                    found[name] = Member(archive, name, info.offset_data, info.size)
                if len(found) % 1000 == 0:
                    progress(tar.offset)
            _check_end(archive, tar.offset)
    except tarfile.TarError as error:
        raise ValueError(f"{archive}: {_why_unreadable(archive, error)}") from error
    progress(archive.stat().st_size)
    return list(found.values())


def write_index(archive: Path, progress: Callable[[int], None] = lambda done: None) -> tuple[Path, int]:
    """Write NAME.tar.index.json beside the archive; returns its path and the number of images.

    It lists name, offset and size per folder, and the archive's own size and time, by which a stale one is noticed.
    Raises what :func:`scan` raises, and OSError where nothing can be written.
    """
    stat = archive.stat()
    members = scan(archive, progress)
    folders: dict[str, list[tuple[str, int, int]]] = {}
    for member in members:
        folder, _, name = member.name.rpartition("/")
        folders.setdefault(folder, []).append((name, member.offset, member.size))
    content = {"format": FORMAT, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "folders": folders}
    path = index_path(archive)
    write_atomically(path, json.dumps(content, separators=(",", ":")).encode())
    return path, len(members)


def index_path(archive: Path) -> Path:
    """Where the archive's index is."""
    return archive.with_name(archive.name + ".index.json")


@lru_cache(maxsize=4096)  # an archive is asked for its images more than once in a run
def _images_in(archive: Path, size: int, mtime_ns: int, index_mtime_ns: int | None) -> tuple[Samples, str]:
    name = index_path(archive).name
    if index_mtime_ns is None:
        return _packed(scan(archive)), f"{archive} has no index"
    try:
        members = _read_index(archive, size, mtime_ns)
        packed = None if members is None else _packed(members)
    except (ValueError, KeyError, TypeError, AttributeError):
        return _packed(scan(archive)), f"{archive}: {name} is damaged"
    if packed is None:
        return _packed(scan(archive)), f"{archive}: {name} is older than the archive, or belongs to another one"
    return packed, ""


def _packed(members: list[Member]) -> Samples:
    """Without labels, only because it is small: what is cached stays for the whole run, in every loader process."""
    return Samples((member, 0) for member in members)


def _read_index(archive: Path, size: int, mtime_ns: int) -> list[Member] | None:
    """The members, or None when the index is of another archive or format; may raise what odd contents cause."""
    content = json.loads(index_path(archive).read_bytes())
    if (content["format"], content["bytes"], content["mtime_ns"]) != (FORMAT, size, mtime_ns):
        return None
    members = []
    for folder, files in content["folders"].items():
        for name, offset, length in files:
            if not 0 < offset <= offset + length <= size:
                raise ValueError(f"{name} is not within the archive")
            members.append(Member(archive, f"{folder}/{name}" if folder else str(name), offset, length))
    return sorted(members, key=lambda member: member.offset)


def _checked(info: tarfile.TarInfo, archive: Path) -> str:
    """The member's name without "./"; ValueError for what has no place in a set of images."""
    path = PurePosixPath(info.name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{archive}: the name of {info.name!r} leads out of the archive; pack the images anew")
    kind = None
    if info.issym() or info.islnk():
        kind = f"a link to {info.linkname!r}"
    elif info.isfifo():
        kind = "a FIFO"
    elif info.isdev():
        kind = "a device"
    elif info.issparse():
        kind = "sparse"
    elif info.size < 0 or not (info.isreg() or info.isdir()):
        kind = "of an unknown kind"
    if kind:
        raise ValueError(
            f"{archive}: {info.name!r} is {kind}; pack the images anew, as plain files (tar --dereference)"
        )
    return str(path)


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _check_end(archive: Path, offset: int) -> None:
    """tarfile takes the end of the file, or a damaged header, for the end of the archive: look for its mark."""
    with archive.open("rb") as file:
        file.seek(offset)
        block = file.read(_BLOCK)
        if len(block) < _BLOCK:
            raise ValueError(f"{archive}: it is cut off after {offset:,} bytes; copy or pack it anew")
        if any(block):
            raise ValueError(f"{archive}: damaged: no tar header at byte {offset:,}; copy or pack it anew")
        while block := file.read(1 << 20):  # little: what fills the archive's last record
            if any(block):
                raise ValueError(
                    f"{archive}: there is more behind its end at byte {offset:,}; archives that were put one behind "
                    "the other must be packed anew, or given as several files"
                )


def _why_unreadable(archive: Path, error: tarfile.TarError) -> str:
    with archive.open("rb") as file:
        start = file.read(8)
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            return f"it is compressed ({name}), so no image in it can be read by itself; decompress it to a plain .tar"
    reason = " ".join(str(error).split()).rstrip(".")
    return f"not a tar archive, or cut off or damaged ({reason}); copy or pack it anew"
