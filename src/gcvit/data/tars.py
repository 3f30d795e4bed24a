"""Tar archives as places to read images from: which images there are, and at which bytes.

An archive may come from anywhere: every size in its headers is checked before anything is read by it."""

import tarfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from gcvit.data import tar_index
from gcvit.data.images import is_image_name
from gcvit.data.members import Contents, Member
from gcvit.data.remarks import is_seen
from gcvit.data.samples import Samples
from gcvit.data.tar_index import index_path
from gcvit.errors import UserError

LONGEST_NAME = 4096  # bytes, as systems have it
MOST_FOLDERS = 100  # in a name
LARGEST_RECORDS = 1 << 16  # bytes of a member's further attributes
LONGEST_TAIL = 1 << 26  # bytes of nothing behind the archive's end

_BLOCK = 512
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_PAX, _PAX_OF_ALL = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE), tarfile.XGLTYPE
_LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}  # GNU's way to say what PAX says
_SPARSE = "GNU.sparse."
_AGAIN = "copy or pack it anew"
_KINDS = {
    tarfile.FIFOTYPE: "a FIFO; leave it out",
    tarfile.CHRTYPE: "a device; leave it out",
    tarfile.BLKTYPE: "a device; leave it out",
}
_LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE)
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
        if header.type in _PLAIN and all(map(is_seen, parts)):
            name = "/".join(parts)
            if is_image_name(name):
                images.pop(name, None)
                images[name] = Member(archive, name, header.offset_data, header.size)
            else:
                _pass_over(passed_over, name)
        if number % 1000 == 0:
            progress(header.offset_data)
    progress(archive.stat().st_size)
    return Contents(list(images.values()), passed_over)


def _pass_over(passed_over: dict[str, dict[str, tuple[int, str]]], name: str) -> None:
    folder, _, file = name.rpartition("/")
    suffix = "." + file.rpartition(".")[2].lower() if "." in file else ""
    kinds = passed_over.setdefault(folder, {})
    number, example = kinds.get(suffix, (0, file))
    kinds[suffix] = number + 1, example


def _checked(header: tarfile.TarInfo, archive: Path) -> list[str]:
    """The folders and the file in a member's name; UserError for what has no place in a set of images."""
    parts = [part for part in header.name.split("/") if part not in ("", ".")]
    if header.name.startswith("/") or ".." in parts:
        raise UserError(
            f"{archive}: the name of {header.name!r} leads out of the archive; pack the images anew, with names within "
            "their folder (tar -cf NEW.tar -C FOLDER .)"
        )
    kind = None
    if header.type in _LINKS:
        plain = "pack the images anew, as plain files (tar --dereference --hard-dereference)"
        kind = f"a link to {header.linkname!r}; {plain}"
    elif header.type == tarfile.GNUTYPE_SPARSE:
        kind = "sparse; pack the images anew, as plain files (tar without --sparse)"
    elif header.type in _KINDS:
        kind = f"{_KINDS[header.type]} when you pack the images anew"
    elif header.type not in (*_PLAIN, tarfile.DIRTYPE):
        kind = "of an unknown kind; leave it out when you pack the images anew"
    if kind:
        raise UserError(f"{archive}: {header.name!r} is {kind}")
    return parts


def read_headers(archive: Path) -> Iterator[tarfile.TarInfo]:
    """All members of an uncompressed archive, in order.

    Raises UserError, naming the archive, for one that is compressed, cut off or damaged, for content behind its end,
    for names and attributes of unreasonable size and for chains of headers; OSError where it cannot be read.
    """
    with archive.open("rb") as file:
        length = archive.stat().st_size
        start = 0
        while True:
            found = _read_member(file, archive, start, length)
            if found is None:
                break
            yield found
            start = _padded(found.offset_data + found.size)
        _check_tail(file, archive, start)


def _read_member(file: BinaryIO, archive: Path, start: int, length: int) -> tarfile.TarInfo | None:
    """The member whose first header is at byte `start`, or None for the archive's end."""
    said: dict[str, str] = {}  # by headers in front of the member's own; of several that speak of it the first counts
    seen: set[bytes] = set()
    while (info := _read_header(file, archive, start, first=start == 0)) is not None:
        offset = start + _BLOCK
        if info.type not in (*_PAX, _PAX_OF_ALL, *_LONG):
            return _described(info, said, archive, offset, length)
        kind = _PAX[0] if info.type in _PAX else info.type
        if kind in seen:
            raise UserError(f"{archive}: damaged: several headers of one kind for one file at byte {start:,}; {_AGAIN}")
        seen.add(kind)
        content = _read_extension(file, info, archive, offset, length)
        if info.type in _LONG:
            name, _, filling = content.partition(b"\0")
            if any(filling) or len(name) > info.size:
                raise UserError(f"{archive}: damaged: a name that is none at byte {offset:,}; {_AGAIN}")
            said.setdefault(_LONG[info.type], name.decode("utf-8", "surrogateescape"))
        else:
            records = _records(content[: info.size], archive, start)
            if info.type != _PAX_OF_ALL:
                said = records | said
            elif any(key in ("path", "linkpath", "size") or key.startswith(_SPARSE) for key in records):
                raise UserError(f"{archive}: one name or size for all files at byte {start:,}; {_AGAIN}")
        start = offset + len(content)
    if seen - {_PAX_OF_ALL}:
        raise UserError(f"{archive}: it is cut off after {start:,} bytes, before the file of a header; {_AGAIN}")
    file.seek(start)
    return None


def _read_header(file: BinaryIO, archive: Path, start: int, first: bool) -> tarfile.TarInfo | None:
    """The header at a byte, or None for a block of zeros."""
    file.seek(start)
    block = file.read(_BLOCK)
    if not first and len(block) < _BLOCK:
        raise UserError(f"{archive}: it is cut off after {start:,} bytes; {_AGAIN}")
    if len(block) == _BLOCK and not any(block):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        if not first:
            raise UserError(f"{archive}: damaged: no tar header at byte {start:,}; {_AGAIN}") from error
        for magic, name in _COMPRESSED.items():
            if block.startswith(magic):
                raise UserError(
                    f"{archive}: it is compressed ({name}), so no image in it can be read by itself; decompress it to "
                    "a plain .tar"
                ) from error
        raise UserError(f"{archive}: not a tar archive, or cut off or damaged ({error}); {_AGAIN}") from error


def _read_extension(file: BinaryIO, info: tarfile.TarInfo, archive: Path, offset: int, length: int) -> bytes:
    """What a header says of the next one, whole blocks of it."""
    most = LONGEST_NAME + 1 if info.type in _LONG else LARGEST_RECORDS  # GNU's names end with a zero
    if not 0 <= info.size <= most:
        raise UserError(
            f"{archive}: a name or attributes of {info.size:,} bytes at byte {offset:,}, more than {most:,}; {_AGAIN}"
        )
    content = file.read(_padded(info.size))
    if len(content) < _padded(info.size):
        raise UserError(f"{archive}: it is cut off after {length:,} bytes; {_AGAIN}")
    return content


def _records(content: bytes, archive: Path, start: int) -> dict[str, str]:
    """PAX's records "LENGTH KEY=VALUE\\n", where the length counts all of it."""
    found = {}
    at = 0
    while at < len(content):
        number, space, _ = content[at : at + 8].partition(b" ")
        end = at + int(number) if space and number.isdigit() else 0
        key, equals, value = content[at + len(number) + 1 : end - 1].partition(b"=")
        if not (at < end <= len(content) and key and equals and content[end - 1 : end] == b"\n"):
            raise UserError(f"{archive}: damaged: attributes that are none at byte {start:,}; {_AGAIN}")
        found[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        at = end
    return found


def _described(info: tarfile.TarInfo, said: dict[str, str], archive: Path, offset: int, length: int) -> tarfile.TarInfo:
    """The header with what was said of it in front; a file with holes has the type of GNU's sparse ones."""
    size = info.size
    if (number := said.get("size")) is not None:
        if not (number.isascii() and number.isdigit() and len(number) <= 20):
            raise UserError(f"{archive}: damaged: a size that is no number at byte {offset:,}; {_AGAIN}")
        size = int(number)
    name, link = said.get("path", info.name), said.get("linkpath", info.linkname)
    if len(name) > LONGEST_NAME or name.count("/") > MOST_FOLDERS:
        raise UserError(
            f"{archive}: a name of {len(name):,} letters in {name.count('/'):,} folders at byte {offset:,}; pack the "
            "images anew, under shorter names"
        )
    if info.type not in _LINKS and any(key.startswith(_SPARSE) for key in said):
        info.type = tarfile.GNUTYPE_SPARSE
    if info.type in (*_LINKS, tarfile.DIRTYPE, *_KINDS):
        size = min(size, 0)  # they have no content, whatever size they name
    if size < 0 or offset + size > length:
        raise UserError(
            f"{archive}: damaged, or cut off after {length:,} bytes: {name!r} would have {size:,} from byte "
            f"{offset:,} on; {_AGAIN}"
        )
    info.name, info.linkname, info.offset_data, info.size = name, link, offset, size
    return info


def _padded(position: int) -> int:
    """The next byte at which a header can begin."""
    return -(-position // _BLOCK) * _BLOCK


def _check_tail(file: BinaryIO, archive: Path, offset: int) -> None:
    """Behind the mark of the end there is nothing but what fills the archive's last record."""
    read = 0
    file.seek(offset)
    while block := file.read(1 << 20):
        if any(block):
            raise UserError(
                f"{archive}: there is more behind its end at byte {offset:,}; archives that were put one behind the "
                "other must be packed anew, or given as several files"
            )
        read += len(block)
        if read > LONGEST_TAIL:
            raise UserError(f"{archive}: nothing but zeros behind its end at byte {offset:,}; {_AGAIN}")
