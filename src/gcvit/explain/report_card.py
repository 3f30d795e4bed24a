"""The report card: do maps show what is there? On built-in scenes, whose truth is known, beside what knows nothing.

Objects are as large as those that the quickstart learns from, in pictures of twice its side, off the middle: a map that
lights the middle of every picture gains little.
"""

from collections.abc import Callable, Mapping
from copy import copy, deepcopy
from dataclasses import astuple, dataclass, fields
from itertools import count, islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from gcvit.data.drawing import CLASSES, Scene, draw_scene, scene_seed
from gcvit.data.segment_transforms import normalised
from gcvit.errors import UserError
from gcvit.explain.looking import Look
from gcvit.model import GCViT
from gcvit.model.config import STAGES
from gcvit.tasks.backbone import backbone_of
from gcvit.tasks.opened import Opened
from gcvit.tasks.target import find_target

SIDE = 128  # pixels
SMALL_AS = 5  # which makes objects 32 to 51 px across
OFF = 0.2  # of the side: least distance of an object's middle from the picture's
STEPS = 8  # of insertion and deletion
BLUR = 10.0  # pixels, sigma of what is inserted into
RANDOM, GAUSSIAN = "random numbers", "Gaussian in the middle"

Plane = NDArray[np.float64]
Truth = NDArray[np.bool_]


@dataclass(frozen=True)
class Grades:
    """How well one map shows the object, means over scenes; None: it was not measured.

    pointing: share of scenes whose brightest pixel is on the object. lift: share of the map's mass on the object over
    the object's share of the area; 1 is chance. auc: chance that a pixel of the object is brighter than one of the
    ground; 0.5 is chance. insertion, deletion: mean confidence in the class while pixels are put into a blurred
    picture, or taken from the picture, the brightest first (Petsiuk et al., 2018). right_class: with two objects, share
    of those whose class's map is brighter on it, in the mean, than on the other; 0.5 is chance. random_lift,
    random_auc: of the same map from the same model with random weights.
    """

    pointing: float
    lift: float
    auc: float
    insertion: float
    deletion: float
    right_class: float | None = None
    random_lift: float | None = None
    random_auc: float | None = None


def graded_maps(seen: Look, name: str, *, of_class: bool = False) -> dict[str, Plane]:
    """The maps that are graded, by title, for a class: those that the model has, or those alone that ask for a class.

    Attention is that of `Look.default_block`, and of the last global block of `Look.windowed_stage`, whose stage all
    others but the last Grad-CAM have too.
    """
    stage = seen.windowed_stage()
    before = seen.last_block(stage)
    maps: dict[str, Tensor] = {}
    if not of_class and seen.block(before).shared and seen.block().shared:
        maps["global attention, image"] = seen.attention(None, "image")
        maps["global attention, window"] = seen.attention(None, "window")
        maps["global attention, norm"] = seen.attention(None, "norm")
        maps[f"global attention, image, stage {stage}"] = seen.attention(before, "image")
    if seen.mapped == seen.blocks:
        if not of_class:
            maps["value-path rollout"] = seen.rollout(stage)
        maps["value-path rollout of class"] = seen.rollout(stage, name, by_class=True)
    maps["element-wise Grad-CAM"] = seen.cam(name, stage, "element-wise")
    maps["Grad-CAM"] = seen.cam(name, stage, "grad-cam")
    maps[f"Grad-CAM, stage {STAGES - 1}"] = seen.cam(name, STAGES - 1, "grad-cam")
    if not of_class:
        maps["Eigen-CAM"] = seen.cam(name, stage, "eigen-cam")
    return {title: _enlarged(found, seen.size) for title, found in maps.items()}


def report_card(
    opened: Opened, scenes: int = 40, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Grades]:
    """Grade every map, and two that know nothing, on so many scenes of one object and half as many of two.

    Raises UserError for a model that does not know the built-in scenes' classes.
    """
    if not set(CLASSES) <= set(opened.classes or []):
        raise UserError(
            "the report card is made on the built-in scenes, whose classes this model does not know; take one that has "
            "learned them, such as that of: gcvit train classify"
        )
    single = off_centre(scenes)
    double = two_objects(max(scenes // 2, 1))
    blank = opened_with_random_weights(opened)
    rows: dict[str, list[list[float]]] = {}
    chance: dict[str, list[list[float]]] = {}
    right: dict[str, list[float]] = {}
    total = len(single) + len(double)
    for number, scene in enumerate(single):
        truth, name = scene.objects[0].mask, CLASSES[scene.objects[0].label]
        seen = Look(opened, _prepared(opened, scene))
        graded = graded_maps(seen, name) | _ignorant(number)
        for title, plane in graded.items():
            rows.setdefault(title, []).append([*shown(plane, truth), *_spoken(seen, plane, name)])
        for title, plane in graded_maps(Look(blank, seen.image), name).items():
            chance.setdefault(title, []).append(shown(plane, truth))
        progress(number + 1, total)
    for number, scene in enumerate(double):
        seen = Look(opened, _prepared(opened, scene))
        for own, other in (scene.objects, scene.objects[::-1]):
            for title, plane in graded_maps(seen, CLASSES[own.label], of_class=True).items():
                brighter = float(plane[own.mask].mean() > plane[other.mask].mean())
                right.setdefault(title, []).append(brighter)
        progress(len(single) + number + 1, total)
    return {title: _mean(values, right.get(title, []), chance.get(title, [])) for title, values in rows.items()}


def off_centre(number: int) -> list[Scene]:
    """Scenes of one object whose middle is away from the picture's; of the test split, which no run has seen."""
    found: list[Scene] = []
    indices = count()
    while len(found) < number:
        label = len(found) % len(CLASSES)
        scene = draw_scene(scene_seed("test", next(indices)), SIDE, label=label, small_as=SMALL_AS)
        left, top, right, bottom = scene.objects[0].box
        if np.hypot((left + right) / 2 - SIDE / 2, (top + bottom) / 2 - SIDE / 2) >= OFF * SIDE:
            found.append(scene)
    return found


def two_objects(number: int) -> list[Scene]:
    """Scenes of two objects of different classes."""
    drawn = (draw_scene(scene_seed("test", index), SIDE, objects=2, small_as=SMALL_AS) for index in count())
    return list(islice((scene for scene in drawn if len({one.label for one in scene.objects}) == 2), number))


def opened_with_random_weights(opened: Opened, seed: int = 0) -> Opened:
    """The same with its weights as they were before training, drawn from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        blank = copy(opened)
        blank.model = deepcopy(opened.model)
        backbone = backbone_of(blank.model)
        backbone.load_state_dict(GCViT(backbone.config).state_dict())
    return blank


def _mean(values: list[list[float]], right: list[float], chance: list[list[float]]) -> Grades:
    """Over scenes. chance: [pointing, lift, auc] of each, with random weights."""
    pointing, lift, under, insertion, deletion = np.mean(values, 0).tolist()
    _, random_lift, random_auc = np.mean(chance, 0).tolist() if chance else (None, None, None)
    right_class = float(np.mean(right)) if right else None
    return Grades(pointing, lift, under, insertion, deletion, right_class, random_lift, random_auc)


def shown(plane: Plane, truth: Truth) -> list[float]:
    """[pointing, lift, auc] of a map, both (height, width)."""
    mass = plane - min(plane.min(), 0)
    lift = mass[truth].sum() / max(mass.sum(), 1e-30) / truth.mean()
    return [float(truth.ravel()[plane.argmax()]), float(lift), auc(plane, truth)]


def auc(plane: Plane, truth: Truth) -> float:
    """Area under the ROC curve, ties as halves."""
    _, place, counts = np.unique(plane, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place.ravel()]  # from 1, ties at their mean
    inside = truth.ravel()
    n, m = inside.sum(), (~inside).sum()
    return float((ranks[inside].sum() - n * (n + 1) / 2) / (n * m))


def _ignorant(number: int) -> dict[str, Plane]:
    """Maps that have not seen the picture: of random tokens, and a bump in the middle, a quarter of the side wide."""
    generator = torch.Generator().manual_seed(number)
    noise = _enlarged(torch.rand(SIDE // 8, SIDE // 8, generator=generator), (SIDE, SIDE))
    across = (np.arange(SIDE) + 0.5 - SIDE / 2) / (SIDE / 4)
    return {RANDOM: noise, GAUSSIAN: np.exp(-(across[:, None] ** 2 + across[None] ** 2) / 2)}


def _enlarged(found: Tensor, size: tuple[int, int]) -> Plane:
    plane = F.interpolate(found[None, None].double(), size, mode="bilinear", align_corners=False)[0, 0]
    return plane.numpy()


def _prepared(opened: Opened, scene: Scene) -> Tensor:
    prepared = opened.preprocessing
    pixels = torch.from_numpy(scene.image).permute(2, 0, 1)
    if len(prepared.mean) != 3:
        raise UserError("the report card is made on RGB pictures, and this model takes others")
    return normalised(pixels, prepared.mean, prepared.std)[None]


@torch.no_grad()
def _spoken(seen: Look, plane: Plane, name: str) -> list[float]:
    """[insertion, deletion]."""
    order = torch.from_numpy(np.argsort(-plane, axis=None, kind="stable"))
    ranks = torch.empty(order.numel()).scatter_(0, order, torch.arange(order.numel(), dtype=torch.float32))
    shares = torch.arange(1, STEPS + 1) / (STEPS + 1)
    first = (ranks[None] < shares[:, None] * order.numel()).view(STEPS, 1, *plane.shape).to(seen.image.device)
    blurred = gaussian_blur(seen.image, [2 * round(2 * BLUR) + 1] * 2, [BLUR] * 2)
    pictures = torch.cat([torch.where(first, seen.image, blurred), torch.where(first, 0, seen.image)])
    maps, found = seen.backbone.pyramid(pictures), []
    for number in range(len(pictures)):
        targets = seen.opened.task.targets(seen.opened, seen.model, [x[number : number + 1] for x in maps], seen.size)
        found.append(targets[find_target(targets, name)].confidence)
    return [float(np.mean(found[:STEPS])), float(np.mean(found[STEPS:]))]


def table(grades: Mapping[str, Grades]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows, for a person."""
    headings = ["map", ">pointing", ">lift", ">AUC", ">insertion", ">deletion", ">right class", ">random: lift", ">AUC"]
    forms = [".0%" if field.name in ("pointing", "right_class") else ".2f" for field in fields(Grades)]
    rows = []
    for title, grade in grades.items():
        cells = zip(astuple(grade), forms, strict=True)
        rows.append([title, *("" if value is None else f"{value:{form}}" for value, form in cells)])
    return headings, rows
