"""The headers of a tar archive from anywhere: every size in them is checked before anything is read by it."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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


@dataclass(frozen=True, slots=True)
class Header:
    """A member as its headers describe it. kind: its type as in `tarfile`. link: what it links to.

    offset, size: of its content in the archive, in bytes.
    """

    name: str
    kind: bytes
    link: str
    offset: int
    size: int
    sparse: bool


def read_headers(archive: Path) -> Iterator[Header]:
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
            start = _padded(found.offset + (found.size if _has_content(found) else 0))
        _check_tail(file, archive, start)


def _read_member(file: BinaryIO, archive: Path, start: int, length: int) -> Header | None:
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


def _described(info: tarfile.TarInfo, said: dict[str, str], archive: Path, offset: int, length: int) -> Header:
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
    sparse = info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith(_SPARSE) for key in said)
    found = Header(name, info.type, link, offset, size, sparse)
    if size < 0 or (_has_content(found) and offset + size > length):
        raise UserError(
            f"{archive}: damaged, or cut off after {length:,} bytes: {name!r} would have {size:,} from byte "
            f"{offset:,} on; {_AGAIN}"
        )
    return found


def _has_content(header: Header) -> bool:
    """Folders, links and devices have none, whatever size they name."""
    empty = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)
    return header.kind not in empty


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
