"""Detection from the command line: what the tests of every task leave out."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import gcvit as library
from gcvit.data import masks as run_lengths

from .conftest import SHORT_DETECT, Command


def test_from_the_doctor_to_predictions(gcvit: Command, detect_scenes: Path) -> None:
    healthy = gcvit("doctor", detect_scenes, "--workers", 0)
    assert healthy.code == 0, healthy.out
    assert "box width" in healthy.out
    (words,) = healthy.next
    assert words[:3] == ["train", "detect", "--data"]
    for head in ("mask-rcnn", "cascade"):
        result = gcvit(*words, *SHORT_DETECT, "--head", head, "--norm", "group", "--out", head)
        assert result.code == 0, result.err
        assert "mask AP50" in result.out
        assert Path(head, "report.html").is_file()
        assert "loss_objectness" in Path(head, "log.jsonl").read_text()
        assert ("loss_class2" in Path(head, "log.jsonl").read_text()) == (head == "cascade")
    opened = library.open("mask-rcnn")
    assert (opened.task.name, len(opened.classes or [])) == ("detect", 10)

    measured = gcvit("eval", "mask-rcnn", "cascade", "--device", "cpu", "--max-detections", "20")
    assert measured.code == 0, measured.err
    assert "box AP" in measured.out

    Image.fromarray(np.zeros((33, 90), np.uint8)).save("grey.png")
    pictures = [detect_scenes / "val", "grey.png"]
    told = gcvit("predict", "mask-rcnn", *pictures, "--min-score", "0", "--device", "cpu", "--json")
    assert told.code == 0, told.err
    found = [json.loads(line) for line in told.out.splitlines()]
    assert [row["size"] for row in found] == [[64, 64]] * 6 + [[33, 90]]
    for row in found:
        for one in row["objects"]:
            left, top, right, below = one["box"]
            assert 0 <= left <= right <= row["size"][1]
            assert 0 <= top <= below <= row["size"][0]
            mask = run_lengths.decode((one["segmentation"]["counts"].encode(),), tuple(row["size"]))
            assert mask.shape[1:] == tuple(row["size"])
    with Image.open(next(Path("predicted").rglob("grey.png"))) as drawn:
        assert drawn.mode == "RGB"
    tiled = gcvit("predict", "mask-rcnn", "grey.png", "--tiles", "48", "--device", "cpu", "--out", "tiled")
    assert tiled.code == 0, tiled.err


def test_results_give_the_same_figures_elsewhere(gcvit: Command, detect_run: Path, detect_scenes: Path) -> None:
    result = gcvit("eval", detect_run, "--data", detect_scenes, "--device", "cpu", "--out", "measured", "--json")
    assert result.code == 0, result.err
    ours = json.loads(result.out)
    truth = COCO(str(detect_scenes / "annotations/instances_val.json"))
    for file, kind, name in (("boxes.json", "bbox", "box"), ("masks.json", "segm", "mask")):
        rows = json.loads(Path("measured", file).read_text())
        assert rows
        theirs = COCOeval(truth, truth.loadRes(rows), kind)
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
        assert ours[f"{name}_ap"] == pytest.approx(theirs.stats[0], abs=1e-12)
        assert ours[f"{name}_ap50"] == pytest.approx(theirs.stats[1], abs=1e-12)


def test_a_repaired_copy(gcvit: Command, detect_scenes: Path) -> None:
    content = json.loads((detect_scenes / "annotations/instances_val.json").read_text())
    content["annotations"][0]["bbox"][2] = -5
    content["annotations"].append(dict(content["annotations"][1]))
    Path("bad.json").write_text(json.dumps(content))
    fixed = gcvit("doctor", "bad.json", "--fix", "good.json")
    assert fixed.code == 0, fixed.err
    assert "changes; the repaired copy is good.json" in fixed.out
    assert len(json.loads(Path("good.json").read_text())["annotations"]) < len(content["annotations"])
    assert "no annotation file to repair" in gcvit("doctor", ".", "--task", "segment", "--fix", "x").message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "nowhere"], "nowhere: no such file or folder"),
        (["--head", "yolo"], "invalid choice"),
        (["--nms", "2"], "nms must be a probability"),
        (["--sides", "500", "400"], "sides must be two rising numbers"),
    ],
)
def test_mistakes(gcvit: Command, words: list[str], said: str) -> None:
    result = gcvit("train", "detect", *words)
    assert result.code == 2
    assert said in result.message


def test_whole_detectors_are_not_exported_yet(gcvit: Command, detect_run: Path) -> None:
    assert "--part backbone" in gcvit("export", detect_run, "--to", "torch-export").message


def test_long_pictures_and_other_orders_of_classes(gcvit: Command, detect_run: Path, detect_scenes: Path) -> None:
    """A strip is seen, and COCO's results have the data's own ids whatever the order of the model's classes."""
    Image.new("RGB", (900, 40), (90, 40, 60)).save("strip.png")
    assert gcvit("predict", detect_run, "strip.png", "--device", "cpu").code == 0
    content = json.loads((detect_scenes / "annotations/instances_val.json").read_text())
    content["categories"] = [{"id": 100 + row["id"], "name": row["name"]} for row in reversed(content["categories"])]
    for row in content["annotations"]:
        row["category_id"] += 100
    Path("val").symlink_to(detect_scenes / "val")
    Path("other.json").write_text(json.dumps(content))
    for data, out in ((detect_scenes, "same"), ("other.json", "turned")):
        result = gcvit("eval", detect_run, "--data", data, "--device", "cpu", "--out", out)
        assert result.code == 0, result.err
    same, turned = (json.loads(Path(out, "boxes.json").read_text()) for out in ("same", "turned"))
    assert same
    assert [row["category_id"] + 100 for row in same] == [row["category_id"] for row in turned]
