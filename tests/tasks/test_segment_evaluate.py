"""Evaluation of a segmentation model: what a plain loop finds, whatever is together in a batch or on a rank."""

import os
import socket
import subprocess
import sys
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate

from gcvit.data.images import ImageError
from gcvit.data.scenes import ShapeScenes
from gcvit.metrics import SegmentationCounts
from gcvit.tasks.segment.evaluate import SHOWN, Evaluation, Evaluator
from gcvit.tasks.segment.evaluate_checkpoint import match_classes
from gcvit.tasks.segment.saving import ScenePreprocessing
from tasks import segment_evaluation_worker
from tasks.scenes import AS_THEY_ARE, CLASSES, SIZES, Scenes, model
from tasks.segment_evaluation_worker import evaluated, plain

CPU = torch.device("cpu")


def evaluate(scenes: Scenes, preprocessing: ScenePreprocessing = AS_THEY_ARE, **settings: object) -> Evaluation:
    evaluator = Evaluator(scenes, preprocessing, **settings)
    try:
        return evaluator(model(), device=CPU)
    finally:
        evaluator.close()


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


@pytest.mark.parametrize("settings", [{"batch_size": 5}, {"batch_size": 2, "workers": 2}])
def test_batches_and_workers_change_nothing(settings: dict) -> None:
    scenes = Scenes(SIZES)
    alone, together = evaluate(scenes, batch_size=1), evaluate(scenes, **settings)
    assert torch.equal(alone.counts.confusion, together.counts.confusion)
    assert [image[:4] for image in alone.images] == [image[:4] for image in together.images]
    assert together.loss == pytest.approx(alone.loss, rel=1e-6)
    assert active_children() == []


def test_only_pictures_of_one_size_that_follow_each_other_go_together() -> None:
    segmenter, shapes = model(), []
    segmenter.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    done: list[int] = []
    Evaluator(Scenes(SIZES), AS_THEY_ARE, batch_size=2)(segmenter, device=CPU, progress=done.append)
    assert [(batch, *size) for batch, _, *size in shapes] == [
        (2, 40, 64), (1, 33, 50), (1, 40, 64), (2, 64, 40), (1, 64, 40), (1, 32, 70), (1, 37, 41),
    ]  # fmt: skip
    assert done == [2, 3, 4, 6, 7, 8, 9]


def test_figures_are_at_the_original_size() -> None:
    scenes = Scenes([(120, 160), (90, 120)])  # which are of one size once they are resized
    small = evaluate(scenes, ScenePreprocessing(resize=(60, 45), crop=(64, 64)))
    assert small.counts.pixels == sum(int((scenes[index][1] >= 0).sum()) for index in range(2))
    assert {tuple(maps.predicted.shape) for maps in small.shown.values()} == {(120, 160), (90, 120)}


def test_several_ranks_find_what_one_does(tmp_path: Path) -> None:
    alone = [evaluated([*SIZES, None, (50, 50)]), evaluated(SIZES[:1])]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, segment_evaluation_worker.__file__, str(tmp_path)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    processes = [
        subprocess.Popen(
            command, env={**os.environ, **shared, "PYTHONPATH": path, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    for rank in range(2):
        for mine, theirs in zip(alone, torch.load(tmp_path / f"{rank}.pt", weights_only=False), strict=True):
            assert mine["metrics"] == theirs["metrics"]
            assert mine["images"] == theirs["images"]
            assert mine["unreadable"] == theirs["unreadable"]
            assert torch.equal(mine["confusion"], theirs["confusion"])
            assert torch.equal(mine["boundary"], theirs["boundary"])
            assert all(torch.equal(theirs["shown"][at].predicted, maps.predicted) for at, maps in mine["shown"].items())


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


def test_a_scene_that_cannot_be_read_stops_it_or_is_listed() -> None:
    scenes = Scenes([(40, 64), None, (40, 64)])
    with pytest.raises(ImageError, match=r"scenes/01\.png: cut off"):
        evaluate(scenes)
    with pytest.raises(ImageError, match=r"^cannot read image scenes/01\.png: cut off$"):
        evaluate(scenes, workers=1)
    found = evaluate(scenes, bad_images="skip")
    assert found.unreadable == [(1, "scenes/01.png", "cut off")]
    assert [image.position for image in found.images] == [0, 2]
    with pytest.raises(ValueError, match=r"none of the 1 images could be read; the first: scenes/00\.png: cut off"):
        evaluate(Scenes([None]), bad_images="skip")
    with pytest.raises(ValueError, match="no images to evaluate on"):
        evaluate(Scenes([]))


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
        Evaluator(Scenes(SIZES[:2]), AS_THEY_ARE)(broken, device=CPU)


def test_labels_of_the_data_are_translated_to_the_models() -> None:
    class Turned(Scenes):
        def __getitem__(self, index):
            image, labels = super().__getitem__(index)
            return image, np.where(labels < 0, labels, 3 - labels).astype(np.int16)

    straight, turned = evaluate(Scenes(SIZES)), evaluate(Turned(SIZES), columns=[3, 2, 1, 0])
    assert torch.equal(straight.counts.confusion, turned.counts.confusion)
    assert torch.equal(turned.shown[0].labels, straight.shown[0].labels)  # as the model numbers them
    assert evaluate(Turned(SIZES)).counts.miou < 0.5 * straight.counts.miou


def test_it_leaves_the_random_numbers_and_the_mode_alone() -> None:
    torch.manual_seed(3)
    expected, segmenter = torch.rand(3), model().train()
    torch.manual_seed(3)
    Evaluator(Scenes(SIZES), AS_THEY_ARE)(segmenter, device=CPU)
    assert torch.equal(torch.rand(3), expected)
    assert segmenter.training


def test_classes_are_matched_by_name_and_without_names_by_number() -> None:
    match = {"source": "RUN", "data": "DATA"}
    assert match_classes(["a", "b", "c"], ["c", "a"], **match) == [2, 0]
    assert match_classes(["a", "b"], ["class 0", "class 1"], **match) == [0, 1]
    assert match_classes(["class 0", "class 1"], ["b", "a"], **match) == [0, 1]
    with pytest.raises(ValueError, match="DATA: classes that RUN was not trained on, 'd'; it knows 'a', 'b'"):
        match_classes(["a", "b"], ["a", "d"], **match)
    with pytest.raises(ValueError, match="RUN knows 3 classes, 'a', 'b', 'c', and DATA has 2, 'class 0', 'class 1'"):
        match_classes(["a", "b", "c"], ["class 0", "class 1"], **match)


def test_the_built_in_scenes() -> None:
    scenes = ShapeScenes("val", 3, (64, 64))
    found = Evaluator(scenes, AS_THEY_ARE, classes=len(CLASSES), columns=[0, 1, 2, 3] * 2 + [0, 1, 2])(
        model(), device=CPU
    )
    assert found.counts.pixels == 3 * 64 * 64
    assert plain(found)["unreadable"] == []
