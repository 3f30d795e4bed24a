"""The pictures that a command is given: where they lie, and read while others are computed."""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from PIL import Image

from gcvit.data.images import ImageError, list_images, load_image

Prepared = TypeVar("Prepared")

ARCHIVES = (".tar", ".tgz", ".gz", ".zip")


def find_files(path: Path) -> list[Path]:
    """The images at `path`. Raises ValueError, saying what to do, for what holds images but is neither file nor folder.

    A file that is no image is not refused here: it is reported in its turn.
    """
    if re.match(r"https?:/", str(path)):
        raise ValueError(f"{path} is an address; download the image and give its file")
    for place in (path, *path.parents):
        if place.suffix in ARCHIVES and place.is_file():
            raise ValueError(f"{place} is an archive; unpack it, and give the folder with its images")
    return list_images(path)


def read_ahead(
    files: Sequence[Path], prepare: Callable[[Image.Image], Prepared], batch_size: int
) -> Iterator[list[tuple[Path, Prepared | ImageError]]]:
    """Batches of decoded images; while one is computed, threads (Pillow releases the lock) decode the next."""

    def load(file: Path) -> tuple[Path, Prepared | ImageError]:
        try:
            return file, prepare(load_image(file))
        except ImageError as error:
            return file, error

    with ThreadPoolExecutor() as pool:
        waiting: list[Future[tuple[Path, Prepared | ImageError]]] = []
        for start in range(0, len(files), batch_size):
            ready, waiting = waiting, [pool.submit(load, file) for file in files[start : start + batch_size]]
            if ready:
                yield [future.result() for future in ready]
        yield [future.result() for future in waiting]
