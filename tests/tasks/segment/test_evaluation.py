"""Evaluation of a segmentation model: what a plain loop finds, whatever is together in a batch or on a rank."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate

from gcvit.data.scenes import ShapeScenes
from gcvit.metrics import SegmentationCounts
from gcvit.tasks.segment.evaluation import SHOWN
from gcvit.tasks.segment.settings import ScenePreprocessing
from tasks.scenes import AS_THEY_ARE, CLASSES, SIZES, Scenes, evaluate, model


def test_it_is_what_a_plain_loop_finds() -> None:
    scenes, segmenter = Scenes(SIZES), model()
    mean, std = (torch.tensor(part)[:, None, None] for part in (AS_THEY_ARE.mean, AS_THEY_ARE.std))
    whole, losses, ious = SegmentationCounts(len(CLASSES)), [], []
    for image, labels in (scenes[index] for index in range(len(scenes))):
        pixels = ((torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 - mean) / std)[None]
        height, width = labels.shape
        padded = torch.zeros(1, 3, max(height, 32), max(width, 32))
        padded[..., :height, :width] = pixels
        logits = segmenter(padded).logits
        logits = interpolate(logits, scale_factor=4, mode="bilinear")[..., :height, :width]
        truth = torch.from_numpy(labels)
        one = SegmentationCounts(len(CLASSES))
        one.update(logits.argmax(1)[0], truth)
        whole.add(one)
        ious.append(one.miou)
        losses.append(cross_entropy(logits, truth[None].long(), ignore_index=-1, reduction="sum").item())
    found = evaluate(scenes)
    assert torch.equal(found.counts.confusion, whole.confusion)
    assert torch.equal(found.counts.boundary, whole.boundary)
    assert [image.miou for image in found.images] == ious
    assert found.loss == pytest.approx(sum(losses) / whole.pixels, rel=1e-5)
    assert found.metrics == {
        "miou": whole.miou,
        "mean_accuracy": whole.mean_accuracy,
        "pixel_accuracy": whole.pixel_accuracy,
        "boundary_iou": whole.boundary_iou,
        "loss": found.loss,
    }
    assert 0.5 < whole.miou < 0.99


def test_figures_are_at_the_original_size() -> None:
    scenes = Scenes([(120, 160), (90, 120)])  # which are of one size once they are resized
    small = evaluate(scenes, preprocessing=ScenePreprocessing(resize=(60, 45), crop=(64, 64)))
    assert small.counts.pixels == sum(int((scenes[index][1] >= 0).sum()) for index in range(2))
    assert {tuple(maps.predicted.shape) for maps in small.shown.values()} == {(120, 160), (90, 120)}


def test_what_is_shown_are_the_worst_the_best_and_some_between() -> None:
    scenes = Scenes([(40, 30 + 7 * index % 64) for index in range(40)])
    found = evaluate(scenes)
    ranked = sorted(found.images, key=lambda image: (image.miou, image.position))
    assert found.worst == ranked[:SHOWN]
    assert found.best == ranked[::-1][:SHOWN]
    assert len(found.middling) == SHOWN
    median = ranked[20].miou
    spread = max(abs(image.miou - median) for image in ranked)
    assert all(abs(image.miou - median) < spread / 3 for image in found.middling)
    assert len(found.shown) < len(scenes)
    for image in (*found.worst, *found.middling, *found.best):
        counts = SegmentationCounts(len(CLASSES))
        counts.update(*found.shown[image.position])
        assert torch.equal(found.shown[image.position].labels, torch.from_numpy(scenes[image.position][1]))
        assert counts.miou == image.miou


def test_few_images_are_shown_once() -> None:
    found = evaluate(Scenes(SIZES[:5]))
    shown = [image.position for group in (found.worst, found.middling, found.best) for image in group]
    assert sorted(shown) == [0, 1, 2, 3, 4]
    assert found.caution is not None


def test_a_scene_without_labels_counts_nowhere_and_only_such_scenes_are_refused() -> None:
    scenes = Scenes(SIZES[:3])
    scenes.ignored = {1}
    found = evaluate(scenes)
    assert found.images[1] == (1, 0, None, None, 0.0)
    assert found.metrics == evaluate(scenes).metrics
    assert 1 not in {image.position for image in (*found.worst, *found.best, *found.middling)}
    scenes.ignored = {0, 1, 2}
    with pytest.raises(ValueError, match="no pixel of the 3 images is labelled, all are ignored"):
        evaluate(scenes)


def test_answers_that_are_no_numbers_are_refused() -> None:
    broken = model()
    broken.colours.data[0] = float("nan")
    with pytest.raises(ValueError, match="answers to 2 of 2 images are not finite numbers"):
        evaluate(Scenes(SIZES[:2]), broken)


def test_labels_of_the_data_are_translated_to_the_models() -> None:
    class Turned(Scenes):
        def __getitem__(self, index):
            image, labels = super().__getitem__(index)
            return image, np.where(labels < 0, labels, 3 - labels).astype(np.int16)

    straight, turned = evaluate(Scenes(SIZES)), evaluate(Turned(SIZES), columns=[3, 2, 1, 0])
    assert torch.equal(straight.counts.confusion, turned.counts.confusion)
    assert torch.equal(turned.shown[0].labels, straight.shown[0].labels)  # as the model numbers them
    assert evaluate(Turned(SIZES)).counts.miou < 0.5 * straight.counts.miou


def test_the_built_in_scenes() -> None:
    found = evaluate(ShapeScenes("val", 3, (64, 64)), columns=[0, 1, 2, 3] * 2 + [0, 1, 2])
    assert found.counts.pixels == 3 * 64 * 64
    assert found.unreadable == []
