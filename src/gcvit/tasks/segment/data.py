"""The scenes of a segmentation model: those of a run, and those that a checkpoint is measured on."""

from collections.abc import Mapping, Sequence
from functools import partial

from gcvit.data.scenes import ShapeScenes
from gcvit.data.segment import open_segmentation, open_segmentation_held_out
from gcvit.data.segment_transforms import TrainScene
from gcvit.tasks.data import held_out_data, training_data
from gcvit.tasks.opened import Opened
from gcvit.tasks.segment.config import SceneAugmentConfig, SegmentConfig
from gcvit.tasks.segment.recipes import RECIPES
from gcvit.tasks.segment.settings import ScenePreprocessing
from gcvit.tasks.task import Data, HeldOut

LARGEST_CROP = 512  # px, the greatest side that is proposed


def open_scenes(config: SegmentConfig) -> Data:
    """Open the built-in scenes, drawn at the crop's size, or the folder that the configuration names.

    Raises UserError, naming it, for one that cannot be trained on (see `open_segmentation`).
    """
    drawn = partial(ShapeScenes, size=config.augment.crop)
    return training_data(config, drawn, partial(open_segmentation, reading=config.reading))


def open_held_out(config: SegmentConfig, opened: Opened, *, share: bool) -> HeldOut:
    """Open what a segmentation model is measured on; see `Task.open_held_out`."""
    drawn = partial(ShapeScenes, size=opened.preprocessing.crop)
    read = partial(open_segmentation_held_out, reading=config.reading, classes=opened.names)
    return held_out_data(config, opened, len(opened.names), drawn, read, share=share)


def crop_flags(sides: Mapping[str, Sequence[int]]) -> list[object]:
    """The flags for crops of the pictures' median size in steps of 32 px, the stride of the fourth map. sides:
    quantiles, see `gcvit.data.doctor.Health`."""
    if not sides:
        return []
    height, width = (min(max(sides[side][2] // 32 * 32, 32), LARGEST_CROP) for side in ("height", "width"))
    usual = next(iter(RECIPES.values())).config().augment.crop
    return [] if (height, width) == usual else ["--crop", height, width]


def varied(augment: SceneAugmentConfig, preprocessing: ScenePreprocessing) -> TrainScene:
    """What turns a scene into a crop for training, varied at random."""
    return TrainScene(
        resize=preprocessing.resize,
        scale=augment.scale,
        crop=augment.crop,
        cat_max_ratio=augment.cat_max_ratio,
        hflip=augment.hflip,
        photometric=augment.photometric,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )
