"""Opened models to look into, one for each task, with weights that matter."""

import torch

from gcvit.data.label_maps import default_palette
from gcvit.model import GCViT
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.detect import DETECT
from gcvit.tasks.detect.settings import DetectPreprocessing
from gcvit.tasks.opened import Opened
from gcvit.tasks.segment import SEGMENT
from gcvit.tasks.segment.settings import ScenePreprocessing
from gcvit.weights.preprocessing import Preprocessing
from laws.models import random_images, small_model
from tasks.detect.building import detector
from tasks.segmenters import CLASSES, segmenter

NAMES = [f"class {letter}" for letter in "abcdefghijk"]
PADDED = (96, 70)  # pixels: windows of three stages stick out of the map, or leave a remainder


def classifier(seed: int = 0, **changes: object) -> Opened:
    """On SMALL, in float64."""
    model = small_model(seed, **changes)
    return opened_classifier(model)


def opened_classifier(model: GCViT) -> Opened:
    names = NAMES[: model.config.num_classes]
    return Opened(CLASSIFY, model, "small", Preprocessing(size=model.config.img_size, crop_pct=1.0), names)


def opened_segmenter() -> Opened:
    names = NAMES[:CLASSES]
    return Opened(
        SEGMENT, segmenter(), "small", ScenePreprocessing(crop=(96, 96)), names, palette=default_palette(CLASSES)
    )


def opened_detector() -> Opened:
    return Opened(DETECT, detector(), "pico", DetectPreprocessing(), NAMES[:3], palette=default_palette(3))


def image(height: int = 96, width: int = 70, seed: int = 1) -> torch.Tensor:
    return random_images(1, height, width, seed=seed)
