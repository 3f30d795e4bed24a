"""The index of a tar archive, NAME.tar.index.json: what its headers say, under a checksum."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from gcvit.data.images import is_image_name
from gcvit.data.members import Contents, Member
from gcvit.files import write_atomically

FORMAT = 2  # of the file; 1 had no checksum

_HEAD = '{"format":%d,"sha256":"%s",'  # the checksum is that of all bytes behind it
_HEAD_LENGTH = len(_HEAD % (FORMAT, "0" * 64))
_BLOCK = 512  # bytes of a tar header


def index_path(archive: Path) -> Path:
    """Where the archive's index is."""
    return archive.with_name(archive.name + ".index.json")


def write(archive: Path, contents: Contents, size: int, mtime_ns: int) -> Path:
    """Write the index beside an archive of that size and time; returns its path. Raises OSError where it cannot be.

    It has name, offset and size of the images per folder.
    """
    folders: dict[str, list[tuple[str, int, int]]] = {}
    for member in contents.images:
        folder, _, name = member.name.rpartition("/")
        folders.setdefault(folder, []).append((name, member.offset, member.size))
    content = {"bytes": size, "mtime_ns": mtime_ns, "folders": folders, "passed_over": contents.passed_over}
    body = json.dumps(content, separators=(",", ":")).encode()[1:]
    path = index_path(archive)
    write_atomically(path, (_HEAD % (FORMAT, hashlib.sha256(body).hexdigest())).encode() + body)
    return path


def read(archive: Path, size: int, mtime_ns: int) -> Contents | str:
    """What the index says of the archive of that size and time; or why it cannot be used, in words. Raises OSError."""
    path = index_path(archive)
    with path.open("rb") as file:
        head = file.read(_HEAD_LENGTH)
        if head.startswith(b'{"format":1,'):
            return f"{path.name} is of an older form, without a checksum"
        # Names are most of it; each of their bytes may be written as six.
        if path.stat().st_size > 4096 + 6 * size:
            return f"{path.name} is damaged"
        body = file.read()
    if head != (_HEAD % (FORMAT, hashlib.sha256(body).hexdigest())).encode():
        return f"{path.name} is damaged"
    # A sum can be made for anything: nothing is built that the archive has no place for.
    if body.count(b"[") + body.count(b"{") > 100 + 8 * (size // _BLOCK):
        return f"{path.name} is damaged"
    try:
        content = json.loads(b"{" + body)
        if (content["bytes"], content["mtime_ns"]) != (size, mtime_ns):
            return f"{path.name} is older than the archive, or belongs to another one"
        return _contents(archive, content, size)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{path.name} is damaged"


def _contents(archive: Path, content: Any, size: int) -> Contents:
    """May raise whatever odd contents cause."""
    images = []
    for folder, files in content["folders"].items():
        for name, offset, length in files:
            if not (type(offset) is type(length) is int and 0 < offset <= offset + length <= size):
                raise TypeError(f"{name} is not within the archive")
            whole = f"{folder}/{name}" if folder else name
            if "/" in name or re.search(r"(^|/)(\.*)(/|$)", whole) or not is_image_name(name):
                raise TypeError(f"{whole} is no image's name")
            whole.encode("utf-8", "surrogateescape")  # as a header's bytes would be
            images.append(Member(archive, whole, offset, length))
    passed_over = {
        str(folder): {str(suffix): (int(number), str(name)) for suffix, (number, name) in kinds.items()}
        for folder, kinds in content["passed_over"].items()
    }
    return Contents(sorted(images, key=lambda member: member.offset), passed_over)
