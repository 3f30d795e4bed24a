"""How long a COCO file of the full size takes to open, and how much memory it needs, also in loader processes.

Writes a file of as many pictures and annotations as COCO's training set has, with polygons as long, and opens it in a
process of its own. `python runs/coco_memory.py FOLDER`; 700 MB of disk.
"""

import json
import multiprocessing
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from gcvit.data.coco import CocoFile
from gcvit.data.coco_reading import read_coco

IMAGES, ANNOTATIONS, CATEGORIES, CORNERS = 118_287, 860_001, 80, 23


def write(path: Path) -> None:
    draw = random.Random(0)
    with path.open("w") as file:
        file.write('{"info": {}, "licenses": [], "images": [')
        for number in range(IMAGES):
            image = {"license": 3, "file_name": f"{number:012d}.jpg", "height": 480, "width": 640, "id": number}
            image |= {"coco_url": f"http://images.cocodataset.org/train2017/{number:012d}.jpg"}
            image |= {"date_captured": "2013-11-14 16:28:13", "flickr_url": "http://farm9.staticflickr.com/8186/x.jpg"}
            file.write(("" if number == 0 else ", ") + json.dumps(image))
        file.write('], "annotations": [')
        for number in range(ANNOTATIONS):
            corners = [round(draw.uniform(0, 480), 2) for _ in range(2 * draw.randint(3, 2 * CORNERS))]
            found = {"segmentation": [corners], "area": round(draw.uniform(10, 9e4), 4), "iscrowd": 0}
            found |= {"image_id": draw.randrange(IMAGES), "category_id": draw.randint(1, CATEGORIES), "id": number + 1}
            found |= {"bbox": [round(draw.uniform(1, 300), 2) for _ in range(4)]}
            if number % 86 == 0:
                found |= {"segmentation": {"counts": [960] * 320, "size": [480, 640]}, "iscrowd": 1}
            file.write(("" if number == 0 else ", ") + json.dumps(found))
        names = [{"id": ident, "name": f"thing {ident}"} for ident in range(1, CATEGORIES + 1)]
        file.write(f'], "categories": {json.dumps(names)}}}')


def memory(kind: str, of: str = "self") -> float:
    """MiB: VmHWM, the most that this process had; RssAnon, its own; Pss, its own and its share of what is shared."""
    file = "smaps_rollup" if kind == "Pss" else "status"
    line = next(line for line in Path(f"/proc/{of}/{file}").read_text().splitlines() if line.startswith(f"{kind}:"))
    return int(line.split()[1]) / 1024


def worker(found: CocoFile, start: float) -> None:
    began = time.perf_counter()
    for row in range(0, len(found), 50):
        found.objects(row, (480, 640))
    seconds = time.perf_counter() - began
    print(f"  a loader process: {memory('VmHWM'):.0f} MiB at most, {memory('Pss'):.0f} its share; a picture's objects")
    print(f"  take {seconds / len(range(0, len(found), 50)) * 1e3:.2f} ms; it had them after {began - start:.1f} s")


def measure(path: Path) -> None:
    before = memory("VmHWM")
    start, cpu = time.perf_counter(), time.process_time()
    found = read_coco(path)
    print(f"{len(found):,} pictures, {len(found.labels):,} objects, {path.stat().st_size / 2**20:.0f} MiB of JSON")
    print(
        f"read in {time.perf_counter() - start:.1f} s, {time.process_time() - cpu:.1f} of one core; {before:.0f} MiB "
        f"before, {memory('VmHWM'):.0f} at most"
    )
    tensors = [part for part in vars(found).values() if isinstance(part, torch.Tensor)]
    print(f"arrays: {sum(part.nbytes for part in tensors) / 2**20:.0f} MiB, now {memory('VmRSS'):.0f} in all")
    for way in ("fork", "spawn"):
        print(f"{way}, two processes:")
        context: Any = torch.multiprocessing.get_context(way)
        started = [context.Process(target=worker, args=(found, time.perf_counter())) for _ in range(2)]
        for process in started:
            process.start()
        for process in started:
            process.join()
    print(f"this process: {memory('VmHWM'):.0f} MiB at most")


if __name__ == "__main__":
    json_file = Path(sys.argv[1]) / "instances_generated.json"
    if not json_file.exists():
        write(json_file)
    child = multiprocessing.get_context("spawn").Process(target=measure, args=(json_file,))
    child.start()
    child.join()
    print(f"at most, of all children: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB")
