"""Evaluation, whatever the task: the same whoever loads and computes it, and no picture is lost without a word."""

import json
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch

import gcvit
from apart import ranks
from gcvit.data.images import ImageError
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.evaluate import evaluate
from gcvit.tasks.segment.evaluation import SegmentEvaluation
from gcvit.tasks.task import HeldOut
from gcvit.tasks.train import TrainResult
from tasks import evaluation_worker, photos, scenes
from tasks.evaluation_worker import counted, everything, plain

CPU = torch.device("cpu")
SIZES = scenes.SIZES
KINDS = {"classify": (photos.Photos, photos), "segment": (scenes.Scenes, scenes)}
every_kind = pytest.mark.parametrize(("pictures", "kind"), KINDS.values(), ids=KINDS)
Pictures = Callable[[list], Any]


@every_kind
@pytest.mark.parametrize("settings", [{"batch_size": 5}, {"batch_size": 2, "workers": 2}])
def test_batches_and_workers_change_nothing(pictures: Pictures, kind: Any, settings: dict) -> None:
    before = set(active_children())  # of other tests
    alone, together = (kind.evaluate(pictures(SIZES), **s) for s in ({"batch_size": 1}, settings))
    assert together.metrics == pytest.approx(alone.metrics, rel=1e-6)
    assert together.loss == pytest.approx(alone.loss, rel=1e-6)
    whole, parts = counted(alone), counted(together)
    for name in whole.keys() - {"confidence", "losses"}:  # which round as their batch does
        assert torch.equal(whole[name], parts[name]), name
    if isinstance(alone, SegmentEvaluation):
        assert [image[:4] for image in together.images] == [image[:4] for image in alone.images]
    for name, table in alone.tables().items():
        other = together.tables()[name]
        assert table.heading == other.heading
        for row, its in zip(table.rows, other.rows, strict=True):
            assert [pytest.approx(float(x), rel=1e-5) if _is_number(x) else x for x in row] == [
                float(x) if _is_number(x) else x for x in its
            ]
    assert set(active_children()) <= before


def _is_number(text: Any) -> bool:
    return re.fullmatch(r"-?[\d.]+(e-?\d+)?", str(text)) is not None


@every_kind
def test_progress_says_how_many_are_done_of_how_many(pictures: Pictures, kind: Any) -> None:
    told: list[tuple[int, int]] = []
    measures = kind.evaluator(pictures([*SIZES, None]), batch_size=4, bad_images="skip")
    measures(kind.opened().model, device=CPU, progress=lambda done, total: told.append((done, total)))
    assert told == [(4, 10), (8, 10), (10, 10)]


def test_only_pictures_of_one_size_that_follow_each_other_go_together() -> None:
    segmenter, shapes = scenes.model(), []
    segmenter.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    scenes.evaluate(scenes.Scenes(SIZES), segmenter, batch_size=2)
    assert [(batch, *size) for batch, _, *size in shapes] == [
        (2, 40, 64), (1, 33, 50), (1, 40, 64), (2, 64, 40), (1, 64, 40), (1, 32, 70), (1, 37, 41),
    ]  # fmt: skip


@every_kind
def test_a_picture_that_cannot_be_read_stops_it_or_is_listed(pictures: Pictures, kind: Any) -> None:
    some, before = pictures([(40, 64), None, (40, 64)]), set(active_children())
    for workers in (0, 1):
        with pytest.raises(ImageError, match=rf"^cannot read image {re.escape(some.name(1))}: cut off$"):
            kind.evaluate(some, workers=workers)
        assert set(active_children()) <= before  # or the command would end a minute late
        found = kind.evaluate(some, bad_images="skip", workers=workers)
        assert found.unreadable == [(1, some.name(1), "cut off")]
        assert found.measured == 2
        names = [row[0] for rows in found.tables().values() if rows.heading[0] == "file" for row in rows.rows]
        assert names == [some.name(0), some.name(2)]
    with pytest.raises(ValueError, match=r"none of the 1 images could be read; the first: \w+/00\.png: cut off"):
        kind.evaluate(pictures([None]), bad_images="skip")
    with pytest.raises(ValueError, match="no images to evaluate on"):
        kind.evaluate(pictures([]))


@every_kind
def test_it_leaves_the_random_numbers_and_the_mode_alone(pictures: Pictures, kind: Any) -> None:
    torch.manual_seed(3)
    expected, model = torch.rand(3), kind.opened().model.train()
    torch.manual_seed(3)
    kind.evaluate(pictures(SIZES), model)
    assert torch.equal(torch.rand(3), expected)
    assert model.training


@every_kind
def test_a_model_without_names_has_those_of_the_data_and_is_left_without(pictures: Pictures, kind: Any) -> None:
    some = pictures(SIZES)
    named, nameless = kind.opened(), kind.opened()
    if named.task is CLASSIFY:  # a segmentation model always knows its classes
        nameless.classes = None
    found = [evaluate(opened, HeldOut(some, "some", None), device="cpu") for opened in (named, nameless)]
    assert plain(found[0].evaluation) == plain(found[1].evaluation)
    assert nameless.classes == (None if named.task is CLASSIFY else named.classes)


@every_kind
def test_all_that_was_measured_is_plain_json(pictures: Pictures, kind: Any) -> None:
    opened = kind.opened()
    measured = evaluate(opened, HeldOut(pictures([*SIZES, None]), "some", None), device="cpu", bad_images="skip")
    found = json.loads(json.dumps(measured.to_dict(), allow_nan=False))
    assert found == measured.to_dict()
    assert (found["task"], found["model"], found["data"]) == (opened.task.name, opened.name, "some")
    assert (found["images"], len(found["unreadable"])) == (9, 1)
    assert found[opened.task.score] == measured.evaluation.metrics[opened.task.score]
    assert ("size" in found) == opened.task.sized
    assert measured.title.startswith(opened.task.shown(opened, opened.task.looks())[:8])


def test_several_processes_find_what_one_does(every_run: TrainResult, tmp_path: Path) -> None:
    """With uneven shares; the first one alone speaks and writes."""
    task = every_run.task
    count = 11 if task is CLASSIFY else 4
    task.write_examples(tmp_path / "data", {"train": 10, "val": count}, 48, 0, iter)
    held_out = tmp_path / "data" / task.example_pictures
    bad = sorted(held_out.rglob("*.png"))[3]
    bad.write_bytes(bad.read_bytes()[:100])
    alone = everything(task.name)
    words = (task.name, str(every_run.best), str(tmp_path / "data"), str(tmp_path))
    first, second = (rank.done() for rank in ranks(2, evaluation_worker.run, *words))
    assert (first.returncode, second.returncode, second.stdout) == (0, 0, ""), first.stderr + second.stderr
    for rank in range(2):
        assert pickle.loads((tmp_path / f"{rank}.pickle").read_bytes()) == alone
    said = json.loads(first.stdout)
    opened = gcvit.open(every_run.best)
    config = replace(every_run.config, data=str(tmp_path / "data"))
    pictures = task.open_held_out(config, opened, share=False)
    expected = evaluate(opened, pictures, bad_images="skip", batch_size=1, device="cpu").evaluation
    assert said["images"] == count - 1
    assert [row["file"] for row in said["unreadable"]] == [str(bad)]
    assert {name: said[name] for name in expected.to_dict()} == expected.to_dict()
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == said
    assert (tmp_path / "out" / "report.html").is_file()
