"""Detection from the command line: what the tests of every task leave out."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from safetensors.torch import save_file

import gcvit as library
from gcvit.cli.main import main
from gcvit.data import masks as run_lengths
from gcvit.data.drawing import CLASSES as SCENE_CLASSES
from gcvit.data.label_maps import default_palette
from gcvit.data.scenes import write_coco_folders
from gcvit.factory import create_model
from gcvit.tasks.detect import DETECT, HeadConfig
from gcvit.tasks.detect.detector import Detector
from gcvit.tasks.detect.settings import DetectPreprocessing
from gcvit.tasks.opened import Opened
from tasks.detect.building import to_mmdet

from .conftest import SHORT_DETECT, Command, Fake

pytestmark = pytest.mark.usefixtures("without_charts")  # those of a run are looked at in tests/tasks/test_results.py


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


def test_annotations_that_are_called_as_a_runs_configuration_are_data(gcvit: Command, detect_scenes: Path) -> None:
    shutil.copytree(detect_scenes, "data")
    for part in ("train", "val"):
        shutil.move(f"data/annotations/instances_{part}.json", f"data/{part}.json")
    result = gcvit("doctor", "data", "--workers", 0)
    assert result.code == 0, result.err
    assert re.search(r"data for +detect", result.out)


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
        (["--head", "yolo"], "--head: 'yolo' is none of 'mask-rcnn', 'cascade'"),
        (["--nms", "2"], "nms must be a probability"),
        (["--sides", "500", "400"], "sides must be two rising numbers"),
    ],
)
def test_mistakes(gcvit: Command, words: list[str], said: str) -> None:
    result = gcvit("train", "detect", *words)
    assert result.code == 2
    assert said in result.message


@pytest.fixture(scope="module")
def stand_in(detect_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Fake, Path]:
    """What stands for the short run's best model as an OpenVINO file, and its folder, which is not to be changed; real
    ones are in tests/tasks/detect/test_exported.py."""
    fake, folder = Fake(), tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        fake.stand_in(patch)
        main(["export", str(detect_run), "--to", "openvino", "--out", str(folder)])
    return fake, folder


@pytest.fixture
def exported(gcvit: Command, stand_in: tuple[Fake, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it."""
    fake, folder = stand_in
    fake.stand_in(monkeypatch)
    shutil.copytree(folder, "exported")
    return Path("exported/gcvit_pico-detect-64x64.xml")


def test_an_exported_file_says_what_its_run_says(
    gcvit: Command, detect_run: Path, detect_scenes: Path, exported: Path
) -> None:
    """Of pictures of the file's shape the same; of others something, within the picture."""
    words = [detect_scenes / "val", "--min-score", "0", "--json", "--device", "cpu"]
    theirs, ours = (gcvit("predict", model, *words) for model in (detect_run, exported))
    assert (ours.code, len(ours.rows)) == (0, 6), ours.err
    told = 0
    for row, other in zip(ours.rows, theirs.rows, strict=True):
        assert row["file"] == other["file"]
        where = np.array([one["box"] for one in other["objects"]])
        for one in row["objects"]:  # those that are equally sure may change places
            apart = np.abs(where - one["box"]).max(1)
            alike = [other["objects"][number]["label"] for number in np.nonzero(apart < 0.02)[0]]
            assert one["label"] in alike
            told += 1
    assert told > 100
    words = ["--data", detect_scenes, "--json", "--device", "cpu"]
    expected, found = (json.loads(gcvit("eval", model, *words).out) for model in (detect_run, exported))
    for name in ("box_ap", "box_ap50", "mask_ap", "box_ar100"):
        assert found[name] == pytest.approx(expected[name], abs=1e-6)

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 33, 3), dtype=np.uint8)).save("long.png")
    for flags in ([], ["--tiles", "48"], ["--max-detections", "3"]):
        result = gcvit("predict", exported, "long.png", "--min-score", "0", "--json", *flags)
        assert result.code == 0, result.err
        (row,) = result.rows
        assert row["objects"]
        assert all(one["box"][2] <= 33 and one["box"][3] <= 90 for one in row["objects"])
        assert len(row["objects"]) <= (3 if "3" in flags else 100)
    assert "looks into" in gcvit("predict", exported, "long.png", "--proposals", "7").message
    assert "at most" in gcvit("predict", exported, "long.png", "--max-detections", "101").message
    assert library.open(exported).predict("long.png").size == (90, 33)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"settings": {"detections": 3}}, "does not give what its sidecar says"),
        ({"settings": {"detections": "many"}}, "detections"),
        ({"palette": None}, "each class a colour"),
        ({"preprocessing": {"mean": [0.0]}}, "as many as mean"),
    ],
)
def test_a_damaged_sidecar_of_a_detector(gcvit: Command, exported: Path, values: dict[str, object], said: str) -> None:
    sidecar = exported.with_name(f"{exported.name}.json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | values))
    Image.new("RGB", (64, 64)).save("picture.png")
    result = gcvit("predict", exported, "picture.png")
    assert (result.code, "Traceback" in result.err) == (2, False)
    assert said in result.message


def test_what_detectors_are_not_written_as(gcvit: Command, fake: Fake, detect_run: Path, detect_scenes: Path) -> None:
    assert "take onnx" in gcvit("export", detect_run, "--to", "aot").message
    int8 = gcvit("export", detect_run, "--to", "onnx", "--int8", "--calibration", detect_scenes / "val").message
    assert "not written as onnx in int8" in int8
    backbone = gcvit("export", detect_run, "--to", "onnx", "--part", "backbone")
    assert (backbone.code, backbone.err.count("Traceback")) == (0, 0)


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


def of_mmdetection(head: str, wrapped: bool) -> tuple[Path, Path]:
    """The same small detector as we save it and as mmdetection does."""
    torch.manual_seed(0)
    config = HeadConfig(head, channels=8, hidden=16)  # type: ignore[arg-type]
    size = {"img_size": 512, "windows": (16,) * 4} if wrapped else {"img_size": 64}  # of the paper's; of a small one
    model = Detector(create_model("gcvit_pico", **size, head=False), len(SCENE_CLASSES), config).eval()
    names, palette = list(SCENE_CLASSES), default_palette(len(SCENE_CLASSES))
    opened = Opened(DETECT, model, "gcvit_pico", DetectPreprocessing(), names, palette=palette)
    DETECT.save(opened, model, Path("ours"), {})
    state = to_mmdet(model)
    if not wrapped:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, "theirs.safetensors")
        return Path("ours"), Path("theirs.safetensors")
    meta = {"dataset_meta": {"CLASSES": tuple(names)}, "epoch": 36}
    state = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"meta": meta, "state_dict": state, "optimizer": {"state": {}}}, "theirs.pth")
    return Path("ours"), Path("theirs.pth")


@pytest.mark.parametrize(("head", "wrapped"), [("mask-rcnn", False), ("cascade", True)])
def test_files_of_mmdetection_are_taken_as_any_other(gcvit: Command, head: str, wrapped: bool) -> None:
    ours, theirs = of_mmdetection(head, wrapped)
    poolings = [library.open(path).model.backbone.config.poolings for path in (ours, theirs)]
    assert poolings[0] == poolings[1] == ((3, 2, 1, 0) if wrapped else (2, 1, 0, 0))
    for one, other in zip(
        library.open(ours).model.state_dict().items(), library.open(theirs).model.state_dict().items(), strict=True
    ):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])
    expected = list(SCENE_CLASSES) if wrapped else [f"class {label}" for label in range(len(SCENE_CLASSES))]
    assert library.open(theirs).classes == expected
    described = gcvit("info", theirs)
    assert (described.code, "detect" in described.out) == (0, True), described.err
    Image.new("RGB", (80, 64), (90, 40, 60)).save("picture.png")
    flags = ["--json", "--device", "cpu", "--min-score", "0", "--proposals", "20"]
    rows = [gcvit("predict", model, "picture.png", *flags).rows[0] for model in (ours, theirs)]
    assert [one["box"] for one in rows[0]["objects"]] == [one["box"] for one in rows[1]["objects"]]
    assert rows[0]["objects"]
    if wrapped:
        return
    write_coco_folders(Path("two"), {"train": 2, "val": 1}, 64)
    measured = gcvit("eval", theirs, "--data", "two", "--json", "--device", "cpu", "--proposals", "5")
    assert measured.code == 0, measured.err
    words = ["train", "detect", *SHORT_DETECT, "--steps", "1", "--norm", "batch", "--anchor-scale", "8", "--out", "run"]
    trained = gcvit(*words, "--train-images", "2", "--val-images", "1", "--weights", theirs, "--head", head)
    assert trained.code == 0, trained.err
    assert "FRESH" in trained.out + trained.err, "by name: the file has none"


def test_a_file_of_mmdetection_with_something_missing(gcvit: Command) -> None:
    _, file = of_mmdetection("mask-rcnn", wrapped=True)
    content = torch.load(file, weights_only=True)
    name = "module.neck.fpn_convs.0.conv.weight"
    for change, said in (("missing", "missing (1): neck.fpn_convs.0"), ("nan", "finite")):
        state = dict(content["state_dict"])
        if change == "missing":
            del state[name]
        else:
            state[name] = torch.full_like(state[name], torch.nan)
        torch.save({"state_dict": state}, "bad.pth")
        for words in (["info", "bad.pth"], ["train", "detect", "--weights", "bad.pth", "--channels", "8"]):
            result = gcvit(*words)
            assert (result.code, "Traceback" in result.err) == (2, False)
            assert said in result.message
