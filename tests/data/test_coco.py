"""Annotation files as they are found: any ids, in any order, with whatever else stands in them."""

import json
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcvit.data import coco
from gcvit.data import masks as mask
from gcvit.data.coco_reading import read_coco
from gcvit.errors import UserError

from .coco_sets import annotation, content, write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "instances.json"


def kinds(found: coco.CocoFile) -> dict[str, int]:
    return found.problems.counts


IDS = st.one_of(st.integers(-5, 10**12), st.integers(2**63, 2**70), st.text(max_size=6))


@settings(max_examples=50)
@given(
    st.lists(IDS, min_size=1, max_size=6, unique_by=str),
    st.lists(IDS, min_size=1, max_size=5, unique_by=str),
    st.integers(0, 10**6),
)
def test_ids_of_any_kind_come_back(tmp_path_factory, image_ids, category_ids, seed):
    """Whatever the ids and the order of lists, each picture has its own objects, and ids are mapped and mapped back."""
    draw = random.Random(seed)
    images = [{"id": ident, "file_name": f"{n}.png", "height": 48, "width": 64} for n, ident in enumerate(image_ids)]
    categories = [{"id": ident, "name": f"class {n}"} for n, ident in enumerate(category_ids)]
    truth: dict[str, list] = {str(ident): [] for ident in image_ids}
    annotations = []
    for number in range(12):
        image, category = draw.choice(image_ids), draw.choice(category_ids)
        box = [draw.randint(0, 20) + draw.random(), draw.randint(0, 20), draw.randint(1, 20) + draw.random(), 5]
        as_text = str(image) if draw.random() < 0.3 else image
        annotations.append(annotation(number, as_text, category, box, area=box[2]))
        truth[str(image)].append((str(category), box, box[2]))
    lists = {"images": images, "annotations": annotations, "categories": categories}
    order = draw.sample(list(lists), 3)
    file = write(tmp_path_factory.getbasetemp() / "any.json", {name: lists[name] for name in order})
    found = read_coco(file)
    assert [found.image_id(row) for row in range(len(found))] == image_ids
    assert [(one.ids[0], one.name) for one in found.categories] == (
        sorted(((c["id"], c["name"]) for c in categories), key=lambda one: one[0])
        if all(isinstance(ident, int) for ident in category_ids)
        else [(c["id"], c["name"]) for c in categories]
    )
    for row, ident in enumerate(image_ids):
        objects = found.objects(row, (48, 64))
        rows = zip(objects.labels.tolist(), objects.xywh.tolist(), objects.areas.tolist(), strict=True)
        assert [(str(found.categories[label].ids[0]), box, area) for label, box, area in rows] == truth[str(ident)]


def test_polygons_run_lengths_and_crowds_side_by_side(file):
    bitmap = np.zeros((1, 48, 64), bool)
    bitmap[0, 10:20, 5:9] = True
    (counts,) = mask.encode(bitmap)
    write(
        file,
        content(
            1,
            [
                annotation(1, 1, bbox=[2, 3, 10, 5]),
                annotation(2, 1, 2, segmentation={"size": [48, 64], "counts": counts.decode()}),
                annotation(3, 1, segmentation={"size": [48, 64], "counts": mask.runs(counts).tolist()}, iscrowd=1),
                annotation(4, 1, segmentation=[], ignore=1),
                annotation(5, 1, segmentation=None, area=None),
            ],
        ),
    )
    found = read_coco(file)
    objects = found.objects(0, (48, 64))
    assert objects.crowd.tolist() == [False, False, True, True, True]  # the masks of the last two are unknown
    bitmaps = objects.bitmaps()
    assert bitmaps.sum((1, 2)).tolist() == [50, 40, 40, 200, 200]
    assert np.array_equal(bitmaps[1], bitmap[0])
    assert objects.areas.tolist() == [50, 200, 200, 200, 200]
    assert found.trained_on().tolist() == [True, True, False, False, False]
    assert found.counts() == [4, 1]
    assert kinds(found) == {coco.NO_AREA: 1}
    same = pickle.loads(pickle.dumps(found)).objects(0, (48, 64))
    assert same.masks == objects.masks


def test_boxes_alone(file):
    found = read_coco(write(file, content(2, [annotation(1, 1, segmentation=None), annotation(2, 1, segmentation=[])])))
    objects = found.objects(0, (48, 64))
    assert objects.masks is None
    assert objects.boxes.tolist() == [[4, 6, 24, 16]] * 2
    assert objects.boxes.dtype == np.float32
    assert found.trained_on().all()
    assert len(found.objects(1, (48, 64))) == 0
    with pytest.raises(ValueError, match="no masks"):
        objects.bitmaps()


def test_what_is_trained_on(file):
    boxes = [
        (4, 6, 20, 10),
        (4, 6, 0.9, 10),
        (4, 6, 20, 0.5),
        (64, 6, 5, 5),
        (4, -9, 20, 9),
        (-5, -5, 6, 6),
        (4, 6, 0, 0),
    ]
    more = [{}, {"area": 0}, {"area": -3}, {"iscrowd": 1}, {"ignore": 1}]
    rows = [annotation(n, 1, bbox=box) for n, box in enumerate(boxes)]
    rows += [annotation(n + 20, 1, **one) for n, one in enumerate(more)]
    found = read_coco(write(file, content(1, rows)))
    fit = found.trained_on().tolist()
    assert [n for n, one in enumerate(fit) if one] == [0, 5, 7]


FAULTS = [
    ("x", coco.NO_OBJECT),
    (None, coco.NO_OBJECT),
    ([1, 2], coco.NO_OBJECT),
    ({"id": 1}, coco.UNKNOWN_CATEGORY),
    (annotation(1, 99), coco.UNKNOWN_IMAGE),
    (annotation(1, None), coco.UNKNOWN_IMAGE),
    (annotation(1, {}), coco.UNKNOWN_IMAGE),
    (annotation(1, True), coco.UNKNOWN_IMAGE),
    (annotation(1, 1.5), coco.UNKNOWN_IMAGE),
    (annotation(1, 1, 7), coco.UNKNOWN_CATEGORY),
    (annotation(1, 1, "cat"), coco.UNKNOWN_CATEGORY),
    (annotation(1, 1, [1]), coco.UNKNOWN_CATEGORY),
    (annotation(1, 1, bbox=(9, 9, -3, 5)), coco.NEGATIVE),
    (annotation(1, 1, bbox=(9, 9, 3, -5)), coco.NEGATIVE),
    *(
        (annotation(1, 1, segmentation=None, bbox=box), coco.NO_BOX)
        for box in (None, "abc", {}, [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, "4"], [1, 2, None, 4], [1, 2, True, 4])
    ),
    *(
        (annotation(1, 1, segmentation=None, bbox=[1, 2, bad, 4], area=9), coco.NO_BOX)
        for bad in (float("nan"), float("inf"), -float("inf"), 10**9, 10**400, 1e300)
    ),
]


@pytest.mark.parametrize(("found", "kind"), FAULTS)
def test_annotations_that_cannot_be_used_are_passed_over_and_told(file, found, kind):
    read = read_coco(write(file, content(1, [annotation(5, 1), found])))
    assert read.counts() == [1, 0]
    assert kinds(read) == {kind: 1}
    (line,) = coco.remarks_on(read.problems, file)
    assert line.startswith(f"{file}: 1 × {kind}, such as annotation ")
    assert "\n" not in line
    assert len(line) < 400


@pytest.mark.parametrize("area", [None, "12", float("nan"), float("inf"), 10**300, {}, True])
def test_areas_that_are_none_are_those_of_masks(file, area):
    polygon = [[2, 2, 12, 2, 12, 12]]
    rows = [annotation(1, 1, bbox=(2, 2, 10, 10), segmentation=polygon) | {"area": area}]
    found = read_coco(write(file, content(1, rows)))
    objects = found.objects(0, (48, 64))
    assert kinds(found) == {coco.NO_AREA: 1}
    assert objects.areas.tolist() == objects.bitmaps().sum((1, 2)).tolist()
    assert 40 < objects.areas[0] < 60
    rows[0]["segmentation"] = None
    assert read_coco(write(file, content(1, rows))).objects(0, (48, 64)).areas.tolist() == [100]


def test_boxes_that_are_missing_are_those_of_masks(file):
    rows = [annotation(1, 1, bbox=None), annotation(2, 1) | {"bbox": [float("nan")] * 4}]
    assert read_coco(write(file, content(1, rows))).boxes.tolist() == [[4, 6, 20, 10]] * 2


def test_masks_of_another_size_than_the_picture(file):
    rows = [annotation(1, 1), annotation(2, 1, segmentation={"size": [64, 48], "counts": [64 * 48]})]
    found = read_coco(write(file, content(1, rows)))
    assert kinds(found) == {coco.MASK_SIZE: 1}
    assert found.kinds.tolist() == [mask.POLYGONS, mask.NONE]
    rows[1]["segmentation"] = [[1, 2, 3]]
    found = read_coco(write(file, content(1, rows)))
    assert found.problems.examples == {coco.BAD_MASK: ["annotation 2: a polygon of an odd number of coordinates"]}


def test_categories_of_one_name_are_one_class(file):
    categories = [{"id": 0, "name": "cat"}, {"id": 7, "name": " cat"}, {"id": 3, "name": "e\u0301"}]
    rows = [annotation(1, 1, 7), annotation(2, 1, 7), annotation(3, 1, 0), annotation(4, 1, 3)]
    found = read_coco(write(file, content(1, rows, categories=categories)))
    assert [(one.name, one.ids) for one in found.categories] == [("cat", (7, 0)), ("\xe9", (3,))]
    assert found.counts() == [3, 1]


def test_lvis_has_addresses_and_the_same_picture_may_stand_twice(file):
    images = [{"id": 1, "coco_url": "http://images.cocodataset.org/val2017/0001.jpg"}] * 2
    found = read_coco(write(file, content(1, images=images)))
    assert list(found.names) == ["val2017/0001.jpg"]
    assert found.sizes.tolist() == [[0, 0]]


@pytest.mark.parametrize(
    "sides", [(0, 5), (-4, 5), ("48", 64), (10**6, 10**6), (10**30, 1), (48.5, 64), (True, 64), (None, 3)]
)
def test_sizes_that_cannot_be_are_unknown(file, sides):
    images = [{"id": 1, "file_name": "1.png", "height": sides[0], "width": sides[1]}]
    assert read_coco(write(file, content(1, images=images))).sizes.tolist() == [[0, 0]]


IMAGE = {"id": 1, "file_name": "1.png", "height": 48, "width": 64}
OTHERS = [
    ([], "not a list; COCO's annotation files have lists of images, annotations, categories"),
    ([{"image": "a.png", "annotations": []}], "not a list; it looks like CreateML's; convert"),
    (
        [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}],
        "COCO.s results, .* give the",
    ),
    ([{"image_id": 1, "category_id": 1, "segmentation": {}, "score": 0.5}], "COCO.s results, .* give the"),
    ([{"image_id": 1, "caption": "a cat"}], "captions; give COCO's annotations of objects"),
    ([{"id": 1, "data": {"image": "a.png"}, "annotations": [{}]}], "Label Studio's; export it as COCO"),
    ([{"name": "a.jpg", "labels": []}], "BDD100K's; convert"),
    ([7, "a"], "not a list; COCO's annotation files"),
    ({"info": {}, "images": [IMAGE], "annotations": [{"id": 1, "image_id": 1, "caption": "a"}]}, "are captions; give"),
    (content(1, [{"image_id": 1, "file_name": "1.png", "segments_info": [{"id": 3}]}]), "are panoptic .* panopticapi"),
    (content(1, [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": [1, 2, 2]}]), "are keypoints without boxes"),
    ({"version": "5", "shapes": [{}], "imagePath": "a.png"}, "labelme"),
    ({"_via_img_metadata": {}}, "VIA"),
    ({}, "no pictures in it; .* this one has none"),
    ({"a\u202eb\n": 2, "x": 1}, r"this one has 'a\\u202eb\\n', 'x'"),
    (content(categories=[]), "no categories in it"),
    (content(categories=[{"id": 1}]), "a category without"),
    (content(categories=[{"id": 1, "name": "a\nb"}]), "a category without"),
    (content(categories=[{"id": None, "name": "a"}]), "a category without"),
    (content(categories=["cat"]), "a category without"),
    (content(categories={"1": "cat"}), "a category without"),
    (content(categories=[{"id": 1, "name": "cat"}, {"id": "1", "name": "dog"}]), "have one id"),
    (content(images=[]), "no pictures"),
    (content(images=["1.png"]), "a picture without file_name"),
    (content(images=[{"id": 1}]), "a picture without file_name"),
    (content(images=[{"file_name": "1.png"}]), "a picture without id"),
    (content(images=[{"id": 1, "file_name": ""}]), "a picture without file_name"),
    (content(images=[{"id": 1, "file_name": 7}]), "a picture without file_name"),
    (content(images=[{"id": 1, "file_name": "a"}, {"id": 1.0, "file_name": "b"}]), "'a' and 'b' have one id, 1.0"),
    ("{", "not readable as JSON"),
    ("\x00", "it should hold a JSON object"),
]


def test_keypoints_with_boxes_are_objects(file):
    found = content(1, [annotation(1, 1, keypoints=[1, 2, 2], num_keypoints=1)])
    assert read_coco(write(file, found)).counts() == [1, 0]


@pytest.mark.parametrize(("found", "why"), OTHERS)
def test_other_files_are_refused_in_a_line(file, found, why):
    write(file, found)
    with pytest.raises(UserError, match=why) as caught:
        read_coco(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


HOSTILE = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        10**9,
        10**400,
        1e308,
        float("nan"),
        float("inf"),
        "",
        "x" * 999,
        [],
        {},
        [[]],
        [None],
        "\u202e\n",
    ]
)


@settings(max_examples=300)
@given(st.data())
def test_any_value_anywhere_is_read_or_refused(tmp_path_factory, data):
    """Nothing but UserError, and what is read can be used."""
    whole = content(2)
    whole["annotations"].append(annotation(3, 2, segmentation={"size": [48, 64], "counts": [3000, 72]}))
    places = list(_places(whole))
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places))
        if isinstance(holder, dict) and data.draw(st.booleans()):
            holder.pop(key, None)
        elif isinstance(holder, dict) or key < len(holder):
            holder[key] = data.draw(HOSTILE)
    file = write(tmp_path_factory.getbasetemp() / "hostile.json", whole)
    try:
        found, lines = read_coco(file), []
    except UserError as error:
        found, lines = None, [str(error)]
    lines += coco.remarks_on(found.problems, file) if found else []
    assert all("\n" not in line and "\u202e" not in line for line in lines)
    if found is None:
        return
    which = found.trained_on()
    for row in range(len(found)):
        objects = found.objects(row, (48, 64))
        assert np.isfinite(objects.boxes).all()
        assert np.isfinite(objects.areas).all()
        if objects.masks is not None:
            assert objects.bitmaps().shape == (len(objects), 48, 64)
        trained = found.objects(row, (48, 64), which)
        assert not trained.crowd.any()
        assert (trained.xywh[:, 2:] >= 1).all()


def _places(value: object) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in [(value, key), *_places(inner)]]


def test_arrays_are_shared_with_processes_that_are_started_anew(file):
    """They are torch's, so that its own pickling hands them over and does not copy them."""
    found = read_coco(write(file, content(2)))
    arrays = [value for name, value in vars(found).items() if name not in ("path", "categories", "names", "problems")]
    assert all(isinstance(value, torch.Tensor) for value in arrays)
    assert json.loads(file.read_text())["annotations"][0]["bbox"] == found.boxes[0].tolist()
