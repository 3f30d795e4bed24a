"""How much a classifier changes by int8: top-1 of both and how often they agree, on all held-out pictures.

    gcvit data shapes shapes --train 1000 --val 2000
    python runs/int8_agreement.py MODEL DATA [--calibration-images 128]

MODEL: as for `gcvit export`. DATA: class folders with train/ (to calibrate on) and val/ (to compare on), or a tar.
"""

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

import gcvit
from gcvit.data.classify import open_class_folders
from gcvit.data.labelled import LabelledImages
from gcvit.export.convert import convert
from gcvit.export.formats import INT8, SUFFIXES
from gcvit.export.runtime import load
from gcvit.export.trained import Trained, as_exported

BATCH = 64


def batches(
    trained: Trained, images: LabelledImages, indices: list[int], batch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Preprocessed images and labels."""
    transform, rest = trained.transform(), iter(indices)
    while chosen := list(islice(rest, batch)):
        pictures, labels = zip(*(images[index] for index in chosen), strict=True)
        yield torch.stack([transform(picture) for picture in pictures]), torch.tensor(labels)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--calibration-images", type=int, default=128)
    arguments = parser.parse_args()

    trained = as_exported(gcvit.open(arguments.model))
    train, held_out = open_class_folders(arguments.data)
    if trained.classes is not None:
        held_out = held_out.with_classes(trained.classes)
    step = max(1, len(train) // arguments.calibration_images)
    chosen = list(range(0, len(train), step))[: arguments.calibration_images]
    print(f"{trained.opened.name}, {len(held_out)} pictures, calibrated on {len(chosen)}")
    with TemporaryDirectory() as folder:
        programs = {}
        for to in INT8:
            path = Path(folder) / f"int8{SUFFIXES[to]}"
            calibration = (images for images, _ in batches(trained, train, chosen, 8))
            convert(trained.model, path, to, trained.size, calibration=calibration)
            programs[to] = load(path, to)
        counts = dict.fromkeys(["fp32", *programs], 0)
        agreed = dict.fromkeys(programs, 0)
        for images, labels in batches(trained, held_out, list(range(len(held_out))), BATCH):
            expected = trained.model(images).argmax(1)
            counts["fp32"] += int((expected == labels).sum())
            for to, program in programs.items():
                found = program(images)[0].argmax(1)
                counts[to] += int((found == labels).sum())
                agreed[to] += int((found == expected).sum())
    total = len(held_out)
    print(f"| form | top-1 | agreement with fp32 |\n|---|---|---|\n| fp32 | {100 * counts['fp32'] / total:.2f} | – |")
    for to in programs:
        print(f"| int8, {to} | {100 * counts[to] / total:.2f} | {100 * agreed[to] / total:.2f} % |")


if __name__ == "__main__":
    main()
