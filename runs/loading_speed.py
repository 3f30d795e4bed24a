"""Images per second that one core loads for training: gcvit from folders and from a tar archive, and timm's loader.

    python runs/loading_speed.py FOLDER [--images 256] [--rounds 7] [--workers 0 1]

FOLDER holds photographs, in it or below. They are enlarged (or reduced) to ImageNet-like JPEGs, 500×375 at quality 90,
and loaded at 224 px with ImageNet's augmentation: random crop, flip, RandAugment, random erasing, normalisation,
batches. With 0 workers one core does everything; with 1 a worker loads and the main process receives. The loaders take
turns within each round, in another order each time; a ratio is the median of the ratios within the rounds.
"""

import argparse
import itertools
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from timm.data import create_dataset, create_loader

from gcvit.bench.report import machine
from gcvit.data.augment import mend_posterize
from gcvit.data.images import find_images, load_picture
from gcvit.data.loading import EpochLoader
from gcvit.data.pixels import as_rgb
from gcvit.data.sampling import Share
from gcvit.data.split_names import WHOLE
from gcvit.data.splits import find_splits
from gcvit.data.tars import write_index
from gcvit.tasks.classify import AugmentConfig
from gcvit.tasks.classify import data as classify
from gcvit.tasks.train import Varied
from gcvit.weights.preprocessing import Preprocessing

SIZE, BATCH = 224, 32
JPEG = (500, 375)
AUGMENT = AugmentConfig(
    scale=(0.08, 1.0), hflip=0.5, color_jitter=0.4, rand_augment="rand-m9-mstd0.5-inc1", random_erasing=0.25
)
CPU = torch.device("cpu")

Epochs = Iterator[Iterator[object]]  # epoch after epoch of batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the photographs are")
    parser.add_argument("--images", type=int, default=256, help=f"images of an epoch, in batches of {BATCH}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()

    torch.set_num_threads(1)
    table = Table(
        "workers", "loader", "images/s (median)", "least", "greatest", "to timm", title="Loading for training"
    )
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        size = write_jpegs(options.folder, root, options.images)
        for workers in options.workers:
            measured = race(root, workers, options.images, options.rounds)
            for name, rates in measured.items():
                ratios = [one / other for one, other in zip(rates, measured["timm"], strict=True)]
                row = [statistics.median(rates), min(rates), max(rates)]
                table.add_row(str(workers), name, *(f"{rate:.1f}" for rate in row), f"{statistics.median(ratios):.3f}")
    Console().print(table)
    print(f"{options.images} JPEGs of {JPEG[0]}×{JPEG[1]}, {size / 1024:.0f} KiB on average; {SIZE} px; one thread")
    for name, value in machine(CPU).items():
        print(f"{name}: {value}")


def write_jpegs(folder: Path, root: Path, count: int) -> float:
    """`count` JPEGs in two classes under root/folders, the same in root/packed.tar; their mean size in bytes."""
    photographs = find_images(folder)
    if not photographs:
        raise SystemExit(f"{folder}: no photographs in it")
    total = 0
    for index, source in enumerate(itertools.islice(itertools.cycle(photographs), count)):
        file = root / "folders" / "ab"[index % 2] / f"{index:05d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        ImageOps.fit(as_rgb(load_picture(source)), JPEG, Image.Resampling.BICUBIC).save(file, quality=90)
        total += file.stat().st_size
    with tarfile.open(root / "packed.tar", "w") as tar:
        tar.add(root / "folders", ".")
    write_index(root / "packed.tar")
    return total / count


def race(root: Path, workers: int, images: int, rounds: int) -> dict[str, list[float]]:
    """Images/s of each loader in each round."""
    loaders: dict[str, Epochs] = {
        "gcvit, folders": ours(root / "folders", workers),
        "gcvit, tar": ours(root / "packed.tar", workers),
        "timm": timms(root / "folders", workers),
    }
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for number in range(rounds + 1):
        names = list(loaders)
        for name in names[number % 3 :] + names[: number % 3]:
            rate = images // BATCH * BATCH / seconds(lambda: next(loaders[name]))  # noqa: B023
            if number:  # the first round starts workers and warms the disk's cache
                rates[name].append(rate)
    return rates


def seconds(start: Callable[[], Iterator[object]]) -> float:
    """How long one epoch takes."""
    before = time.perf_counter()
    for _ in start():
        pass
    return time.perf_counter() - before


def ours(path: Path, workers: int) -> Epochs:
    images = find_splits(path).parts[WHOLE]()
    varied = Varied(images, classify.Varied(AUGMENT, Preprocessing(size=(SIZE, SIZE))))
    loader = EpochLoader(varied, Share(BATCH), seed=0, workers=workers, device=CPU)
    return (loader.epoch(epoch) for epoch in itertools.count())


def timms(path: Path, workers: int) -> Epochs:
    loader = create_loader(
        create_dataset("", root=str(path)),
        input_size=(3, SIZE, SIZE),
        batch_size=BATCH,
        is_training=True,
        scale=AUGMENT.scale,
        ratio=AUGMENT.ratio,
        hflip=AUGMENT.hflip,
        color_jitter=AUGMENT.color_jitter,
        auto_augment=AUGMENT.rand_augment,
        re_prob=AUGMENT.random_erasing,
        re_mode="pixel",
        interpolation="random",
        num_workers=workers,
        persistent_workers=workers > 0,
        use_prefetcher=False,  # it needs a GPU
        device=CPU,
    )
    mend_posterize(loader.dataset.transform)
    return (iter(loader) for _ in itertools.count())


if __name__ == "__main__":
    main()
