"""`gcvit data index`: writes beside tar archives where each image in them begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from gcvit.cli.arguments import parse
from gcvit.cli.output import counter, next_steps, say
from gcvit.errors import UserError


@dataclass(frozen=True)
class Index:
    """Write NAME.tar.index.json beside each tar archive, so that training need not read all its headers."""

    data: Positional[Path]
    """a .tar file, or a folder of them, with class folders inside: CLASS/image.jpg, below train/ and val/ or not"""


def run(argv: Sequence[str]) -> None:
    """Write the indexes, those that are there anew."""
    data = parse(Index, "data index", argv).data
    from gcvit.data.splits import find_archives
    from gcvit.data.tars import write_index

    archives = find_archives(data)
    if not archives:
        raise UserError(f"{data}: {'no .tar files in it' if data.exists() else 'no such file or folder'}")
    total = sum(archive.stat().st_size for archive in archives)
    before = 0
    with counter("reading headers") as progress:
        for archive in archives:
            path, images = write_index(archive, lambda done, before=before: progress(before + done, total))  # type: ignore[misc]
            before += archive.stat().st_size
            say(f"{path}: {images:,} images")
    next_steps(["gcvit", "doctor", data], ["gcvit", "train", "classify", "small_images", "--data", data])
