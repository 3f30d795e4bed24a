"""Descriptions and headers from anybody: a working model or one line that says what is wrong, soon, and nothing built
that the weights do not have."""

import copy
import json
import random
import struct
import time

import pytest
import torch

import gcvit
from gcvit import factory
from gcvit.data.augment import eval_transform
from gcvit.errors import UserError
from gcvit.opening import open as open_model
from gcvit.weights.hub import save_hub
from weights.models import PREPROCESSING, pico

CASES = 100
SECONDS = 10  # of the processor, for what takes a fraction of one on an idle machine
VALUES = [
    *(None, True, False, 0, 1, -1, 5, 3.5, 1e9, 10**9, 10**18, 10**400, 1e300, float("inf"), float("nan")),
    *("", "x", "224", "\x1b[2J", "\ud800", "a" * 100_000, "gc_vit_nano", "gc_vit_large", "gcvit_xxtiny", "segment"),
    *([], [1], [[]], {}, {"a": 1}, [2] * 4, [128] * 4, [10**9] * 4, [1e9] * 4, [[1, 2]] * 4, [64, 64], [10**6] * 2),
    *([3, 64, 64], [3, 10**9, 10**9], [0] * 3, [float("nan")] * 3, ["a"] * 5, ["a"] * 10**5, [1] * 10**5),
    *({"0": "a", "4": "b"}, {"x": "a"}, {"-1": "a"}, {"9" * 11: "a"}, {"1000000": "a"}),
]
KEYS = [
    *("dim", "depths", "heads", "mlp_ratio", "layer_scale", "drop_path_rate", "query_mbconvs", "img_size", "windows"),
    *("in_chans", "num_classes", "head", "global_pool", "label_names", "task", "architecture", "model_args", "mean"),
    *("pretrained_cfg", "input_size", "crop_pct", "crop_mode", "std", "interpolation"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model = pico(img_size=(64, 96), windows=[4, 4, 4, (2, 3)])
    return save_hub(model, tmp_path_factory.mktemp("hub"), preprocessing=PREPROCESSING, labels=list("abcde"))


@pytest.fixture(scope="module")
def described(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.fixture(scope="module")
def whole(folder):
    return (folder / "model.safetensors").read_bytes()


def refusal(path):
    """What is said of a model that is not opened, in one line; None for one that is."""
    try:
        gcvit.load_weights(open_model(path).model, path)
    except UserError as error:
        told = str(error)
    else:
        return None
    assert "\n" not in told
    assert len(told) < 3000
    return told


@torch.no_grad()
def opens(folder):
    """Whether it is a working model; if not it is refused soon."""
    start = time.process_time()
    refused = refusal(folder)
    assert time.process_time() - start < SECONDS
    if refused is not None:
        return False
    opened = open_model(folder)
    images = torch.zeros(1, opened.model.config.in_chans, 64, 64)
    assert opened.model(images).isfinite().all()
    assert opened.classes is None or len(opened.classes) == opened.model.config.num_classes
    settings = opened.preprocessing
    if len(settings.mean) == 3 and max(settings.size) < 1000:
        eval_transform(**settings.geometry())
    return True


def places(tree, at=()):
    yield at
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places(value, (*at, key))


def mutated(rng, tree):
    """With a value or two replaced, left out or added anywhere."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice([1, 1, 2])):
        *way, key = rng.choice([place for place in places(tree) if place])
        node = tree
        for step in way:
            node = node[step]
        if rng.random() < 0.6 or not isinstance(node, dict):
            node[key] = rng.choice(VALUES)
        elif rng.random() < 0.5:
            del node[key]
        else:
            node[rng.choice(KEYS)] = rng.choice(VALUES)
    return tree


def test_mutations_of_a_description(folder, described, whole):
    (folder / "model.safetensors").write_bytes(whole)
    opened = 0
    for case in range(CASES):
        rng = random.Random(case)
        (folder / "config.json").write_text(json.dumps(mutated(rng, described)))
        opened += opens(folder)
    assert CASES / 10 < opened < CASES * 9 / 10  # or nothing was tried


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model_args"].update(dim=10**9), "dim must be a whole number from 1 to 1,024"),
        (lambda c: c["model_args"].update(dim=1024), r"not those of the model.*of another shape \(\d+\): stem\.conv"),
        (lambda c: c["model_args"].update(depths=[2, 2, 2, 10**9]), "depths must be 4 whole numbers from 2 to 128"),
        (lambda c: c["model_args"].update(depths=[128] * 4), r"missing \(\d+\): stages\.0\.blocks\.2"),
        (lambda c: c["model_args"].update(windows=10**6), "window of stage 0 must be a whole number from 1 to 1024"),
        (lambda c: c["model_args"].update(windows=1024), r"another shape \(8\): .*bias\.table"),
        (lambda c: c["model_args"].update(img_size=[16384, 16384], windows=None), "of another shape"),
        (lambda c: c["model_args"].update(mlp_ratio=16), r"of another shape \(24\)"),
        (lambda c: c["model_args"].update(in_chans=4096), r"of another shape \(1\): stem\.conv\.weight"),
        (lambda c: c.update(num_classes=10**6, label_names=None), "5 classes in the weights, but 1000000 in its"),
        (lambda c: c.update(label_names=["a"] * 10**5), "100,000 labels for 5 classes"),
        (lambda c: c["model_args"].update(head=False), "model_args that a GC ViT does not take: head"),
        (lambda c: c.update(label_names=5), "label_names should be a list of names, not 5"),
        (lambda c: c.update(label_names={"7": "a"}), "label_names for class 7 of 5 classes"),
        (lambda c: c["pretrained_cfg"].update(input_size=None), "input_size should be channels, height and width"),
        (lambda c: c["pretrained_cfg"].update(crop_pct="x"), "crop_pct must be above 0"),
        (lambda c: c["pretrained_cfg"].update(crop_pct=1e-9), "enlarged beyond 16384 pixels"),
        (lambda c: c["pretrained_cfg"].update(interpolation="magic"), "interpolation must be one of bicubic"),
        (lambda c: c["pretrained_cfg"].update(std=[1, 1, 0]), "mean and std must be numbers, .*std above 0"),
        (lambda c: c.update(task=5), "task in its config.json should be a name"),
        (lambda c: c.update(architecture=["gc_vit_pico"]), "architecture is .* not a GC ViT"),
    ],
)
def test_nothing_is_built_that_the_weights_do_not_have(folder, described, whole, monkeypatch, change, message):
    def build(*_):
        raise AssertionError("a model was built")

    monkeypatch.setattr(factory, "GCViT", build)
    config = copy.deepcopy(described)
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(whole)
    with pytest.raises(UserError, match=message) as caught:
        open_model(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"mlp_ratio": Infinity}', "Infinity is no finite number"),
        ('{"a": NaN}', "NaN is no finite number"),
        ('{"a": 1e999}', "1e999 is no finite number"),
        (f'{{"a": {"1" * 5000}}}', "a number of 5000 digits"),
        ('{"architecture": "a", "architecture": "b"}', "'architecture' stands in it twice"),
        ('{"a": ' + "[" * 10**6, "not readable as JSON"),
        ('{"a": "' + "x" * 2**22 + '"}', "larger than 4,194,304 bytes"),
        ('{"a": "\xff', "not readable as JSON"),
        ("5", "a JSON object, not int"),
    ],
)
def test_texts_that_are_no_description(folder, text, message):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=message):
        open_model(folder)
    assert not opens(folder)


def header(content):
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def test_mutations_of_a_header(folder, described, whole):
    (folder / "config.json").write_text(json.dumps(described))
    names, body = header(whole)
    odd_shapes = (
        [],
        [0],
        [0, 10**18],
        [10**18] * 2,
        [-1],
        [1] * 70,
        "x",
        None,
        [1.5],
        [2**64],
        [True],
        [len(body) // 4],
    )
    offsets = ([0, 0], [0, len(body)], [10**18, 10**18 + 4], [-1, 4], None, [0], ["a", "b"], [5, 1], [0, 2**64])
    types = ("F16", "BF16", "F64", "I8", "U8", "BOOL", "U16", "U64", "C64", "F8_E4M3", "F8_E8M0", "F4", "X", None, 5)
    changes = {"dtype": types, "shape": odd_shapes, "data_offsets": offsets}
    for case in range(CASES):
        rng = random.Random(case)
        changed, name = copy.deepcopy(names), rng.choice([name for name in names if name != "__metadata__"])
        what = rng.choice([*changes, *changes, "name", "gone", "other"])
        if what in changes:
            changed[name][what] = rng.choice(changes[what])
        elif what == "other":
            changed[name] = rng.choice([None, 5, "x", [], {}])
        else:
            moved = changed.pop(name)
            if what == "name":
                changed[rng.choice([f"module.{name}", f"x.{name}", "patch_embed.proj.weight", "a" * 10**5])] = moved
        text = json.dumps(changed).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
        opens(folder)


@pytest.mark.parametrize("length", [0, 1, 2**10, 2**20, 2**20 + 1, 2**31, 2**63, 2**64 - 1])
def test_lengths_of_a_header(folder, described, whole, length):
    (folder / "config.json").write_text(json.dumps(described))
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", length) + whole[8:])
    assert not opens(folder)


def test_many_names(folder, described, whole):
    """As many as a header holds, each like the mark of a model of its own."""
    (folder / "config.json").write_text(json.dumps(described))
    names, body = header(whole)
    for index in range(11_500):
        names[f"p{index}.stem.conv.weight"] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    text = json.dumps(names).encode()
    assert 800_000 < len(text) < 2**20
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    assert not opens(folder)


def test_a_name_twice_in_a_header(folder, described, whole):
    (folder / "config.json").write_text(json.dumps(described))
    names, body = header(whole)
    text = json.dumps(names)[:-1] + ', "norm.bias": ' + json.dumps(names["norm.bias"]) + "}"
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text.encode() + body)
    with pytest.raises(UserError, match=r"'norm\.bias' stands in it twice"):
        open_model(folder)


@pytest.mark.parametrize("zipped", [True, False])
def test_flipped_bytes_of_torchs_files(tmp_path, zipped):
    torch.save(
        {"state_dict": pico().state_dict(), "epoch": 3}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped
    )
    whole = (tmp_path / "a.pth").read_bytes()
    for case in range(CASES // 2):
        rng = random.Random(case)
        content = bytearray(whole)
        for _ in range(rng.choice([1, 3, 10])):
            content[rng.randrange(min(len(content), rng.choice([1_000, 30_000, 10**9])))] = rng.randrange(256)
        (tmp_path / "b.pth").write_bytes(content)
        refusal(tmp_path / "b.pth")


def test_placeholders_and_archives_are_told_apart(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "run.pth", "w") as archive:
        archive.writestr("best/config.json", "{}")
    with zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10**6)
    (tmp_path / "pointer.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (tmp_path / "page.pth").write_text("\n<!DOCTYPE html>")
    for name, message in {
        "run.pth": "an archive, but not a checkpoint; unpack it",
        "packed.pth": r"archive/data\.pkl in it is compressed",
        "pointer.safetensors": "a pointer of Git LFS; fetch what it stands for",
        "page.pth": "a web page; download the file itself",
    }.items():
        with pytest.raises(UserError, match=message):
            open_model(tmp_path / name)
