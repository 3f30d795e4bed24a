"""Detection written down number by number, from the definitions, without tensors: what the fast code must equal."""

import math
from collections.abc import Sequence

Box = Sequence[float]


def area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def iou(a: Box, b: Box) -> float:
    common = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = area(a) + area(b) - common
    return common / union if union > 0 else 0.0


def giou(a: Box, b: Box) -> float:
    common = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = area(a) + area(b) - common
    around = area((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    return common / union - (around - union) / around


def encode(box: Box, wanted: Box, stds: Sequence[float]) -> list[float]:
    width, height = box[2] - box[0], box[3] - box[1]
    wanted_width, wanted_height = wanted[2] - wanted[0], wanted[3] - wanted[1]
    return [
        ((wanted[0] + wanted[2]) / 2 - (box[0] + box[2]) / 2) / width / stds[0],
        ((wanted[1] + wanted[3]) / 2 - (box[1] + box[3]) / 2) / height / stds[1],
        math.log(wanted_width / width) / stds[2],
        math.log(wanted_height / height) / stds[3],
    ]


def decode(box: Box, deltas: Sequence[float], stds: Sequence[float]) -> list[float]:
    width, height = box[2] - box[0], box[3] - box[1]
    x = (box[0] + box[2]) / 2 + deltas[0] * stds[0] * width
    y = (box[1] + box[3]) / 2 + deltas[1] * stds[1] * height
    most = math.log(1000 / 16)
    width *= math.exp(min(max(deltas[2] * stds[2], -most), most))
    height *= math.exp(min(max(deltas[3] * stds[3], -most), most))
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def clip(box: Box, size: tuple[int, int]) -> list[float]:
    return [min(max(edge, 0), size[1 - at % 2]) for at, edge in enumerate(box)]


def match(
    boxes: Sequence[Box], objects: Sequence[Box], positive: float, negative: float, floor: float | None
) -> list[int]:
    """-1: background, -2: between."""
    matched = []
    for box in boxes:
        best, number = 0.0, -1
        for at, wanted in enumerate(objects):
            if iou(box, wanted) > best:
                best, number = iou(box, wanted), at
        matched.append(number if best >= positive else -1 if best < negative else -2)
    if floor is not None and boxes:
        for at, wanted in enumerate(objects):
            closest = max(iou(box, wanted) for box in boxes)
            for number, box in enumerate(boxes):
                if closest >= floor and iou(box, wanted) == closest:
                    matched[number] = at
    return matched


def nms(boxes: Sequence[Box], scores: Sequence[float], limit: float) -> list[int]:
    """The numbers of the boxes that stay, the surest first; of equally sure ones the first."""
    kept: list[int] = []
    for number in sorted(range(len(boxes)), key=lambda number: -scores[number]):
        if all(iou(boxes[number], boxes[other]) <= limit for other in kept):
            kept.append(number)
    return kept


def level_of(box: Box) -> int:
    return min(max(math.floor(math.log2(math.sqrt(area(box)) / 56 + 1e-6)), 0), 3)


def sample(grid: Sequence[Sequence[float]], y: float, x: float) -> float:
    """Bilinear between the middles of pixels, whose first is at 0; up to one pixel outside the edge is repeated,
    further out there is nothing."""
    rows, columns = len(grid), len(grid[0])
    if y < -1 or y > rows or x < -1 or x > columns:
        return 0.0
    y, x = min(max(y, 0), rows - 1), min(max(x, 0), columns - 1)
    top, left = math.floor(y), math.floor(x)
    below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
    dy, dx = y - top, x - left
    return (
        grid[top][left] * (1 - dy) * (1 - dx)
        + grid[top][right] * (1 - dy) * dx
        + grid[below][left] * dy * (1 - dx)
        + grid[below][right] * dy * dx
    )


def roi_align(grid: Sequence[Sequence[float]], box: Box, scale: float, cells: int) -> list[list[float]]:
    """One channel, aligned: pixel i of the map covers i to i + 1 and has its value in the middle."""
    left, top, right, bottom = (edge * scale - 0.5 for edge in box)
    height, width = (bottom - top) / cells, (right - left) / cells
    down, across = math.ceil(height), math.ceil(width)

    def cell(row: int, column: int) -> float:
        values = [
            sample(grid, top + (row + (i + 0.5) / down) * height, left + (column + (j + 0.5) / across) * width)
            for i in range(down)
            for j in range(across)
        ]
        return sum(values) / max(len(values), 1)

    return [[cell(row, column) for column in range(cells)] for row in range(cells)]


def paste(mask: Sequence[Sequence[float]], box: Box, size: tuple[int, int]) -> list[list[float]]:
    """What is at the middle of each pixel, with 0 around the mask."""
    cells = len(mask)
    around = [[0.0] * (cells + 2), *([0.0, *row, 0.0] for row in mask), [0.0] * (cells + 2)]

    def at(y: int, x: int) -> float:
        row = (y + 0.5 - box[1]) / (box[3] - box[1]) * cells - 0.5
        column = (x + 0.5 - box[0]) / (box[2] - box[0]) * cells - 0.5
        inside = -1 <= row <= cells and -1 <= column <= cells
        return sample(around, row + 1, column + 1) if inside else 0.0

    return [[at(y, x) for x in range(size[1])] for y in range(size[0])]
