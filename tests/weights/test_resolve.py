"""What a string means: one answer, without opening or fetching anything, and what to do where it means nothing."""

import builtins
import io
import os
import socket
from pathlib import Path

import pytest

from gcvit.errors import UserError
from gcvit.export.formats import SUFFIXES
from gcvit.model import VARIANTS
from gcvit.weights.catalogue import CATALOGUE, default_entry
from gcvit.weights.resolve import Source, resolve


@pytest.fixture(autouse=True)
def nothing_is_opened(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise AssertionError("resolve opens and fetches nothing")

    monkeypatch.chdir(tmp_path)
    for owner, name in ((builtins, "open"), (io, "open"), (os, "open"), (socket, "socket")):
        monkeypatch.setattr(owner, name, refuse)


def make(*files):
    for file in map(Path, files):
        file.parent.mkdir(parents=True, exist_ok=True)
        os.mknod(file)


def meant(source):
    found = resolve(source)
    assert found.name == str(source)
    assert resolve(found) is found
    return found.kind, None if found.path is None else str(found.path)


def test_what_lies_on_the_disk(tmp_path):
    make("run/train.json", "run/best/config.json", "run/last/config.json", "hub/config.json", "empty/notes.txt")
    make("hub/pytorch_model.bin", "both/config.json", "both/pytorch_model.bin", "both/model.safetensors")
    make("a.pth.tar", "b.safetensors", "c.ckpt", "weights", "run/best/model.safetensors", "run/mine/x.pth")
    for source, expected in {
        "run": ("run", "run/best"),
        "run/": ("run", "run/best"),
        tmp_path / "run": ("run", f"{tmp_path}/run/best"),
        "run/last": ("hub folder", "run/last"),
        "hub": ("hub folder", "hub"),
        "empty": ("hub folder", "empty"),
        "run/best/model.safetensors": ("hub folder", "run/best"),  # config.json beside it says what they are
        "hub/pytorch_model.bin": ("hub folder", "hub"),
        "both/pytorch_model.bin": ("file", "both/pytorch_model.bin"),  # not what the folder is read from
        "run/mine/x.pth": ("file", "run/mine/x.pth"),
        **{file: ("file", file) for file in ("a.pth.tar", "b.safetensors", "c.ckpt", "weights")},
    }.items():
        assert meant(source) == expected


@pytest.mark.parametrize("suffix", SUFFIXES.values())
def test_exported_files(suffix):
    make(f"model{suffix}", f"model{suffix}.json")
    assert meant(f"model{suffix}") == ("exported file", f"model{suffix}")
    with pytest.raises(UserError, match=rf"describes a model and holds no weights; give model{suffix}$"):
        resolve(f"model{suffix}.json")


def test_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    make("hub/config.json")
    assert meant("~/hub") == ("hub folder", f"{tmp_path}/hub")


def test_published_names_and_files():
    for name, entry in CATALOGUE.items():
        assert resolve(name) == Source("published name", name, entry=entry)
    for name in VARIANTS:
        if entry := default_entry(name):
            assert resolve(name) == Source("published name", name, entry=entry)
    make("old/gcvit_1k_tiny.pth.tar", "gcvit_small/config.json")
    assert resolve("old/gcvit_1k_tiny.pth.tar").entry == CATALOGUE["gcvit_tiny.nvlabs"]
    assert meant("gcvit_small") == ("hub folder", "gcvit_small")  # what is there comes before a name
    with pytest.raises(UserError, match="no published weights for gcvit_pico: nobody has published any; train it"):
        resolve("gcvit_pico")


@pytest.mark.parametrize(
    ("source", "repository", "revision"),
    [
        ("owner/name", "owner/name", None),
        ("hf-hub:owner/name", "owner/name", None),
        ("owner/name@v1.0", "owner/name", "v1.0"),
        ("hf-hub:owner/name@refs/pr/1", "owner/name", "refs/pr/1"),
        (f"some-one/a.b_c@{'0f' * 20}", "some-one/a.b_c", "0f" * 20),
    ],
)
def test_hub_ids(source, repository, revision):
    assert resolve(source) == Source("hub id", source, repository=repository, revision=revision)


def test_timms_hub_models_have_their_row():
    assert resolve("timm/gcvit_tiny.in1k@main").entry == CATALOGUE["gcvit_tiny.timm"]
    assert resolve("other/gcvit_tiny.in1k").entry is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "an empty text names no model; give a run's folder"),
        ("  ", "an empty text names no model"),
        ("gcvit_tinny", "no such file, folder or model .* did you mean gcvit_tiny"),
        ("gc_vit_tiny.nvlabs", r"did you mean gcvit_tiny\.nvlabs"),
        ("resnet50", "there are gcvit_xxtiny, .*gcvit_pico"),
        ("https://huggingface.co/owner/name", "addresses are not opened; give a hub model as owner/name, or download"),
        ("s3://bucket/a.pth", "addresses are not opened"),
        ("local-dir:run/best", "timm's way to say it; here leave out local-dir:"),
        ("nvidia/GCViT", r"holds many models; give one of them by its name: gcvit_xxtiny\.nvlabs, .*512_21k\.nvlabs"),
        ("owner/name@../x", "no such file or folder"),
        ("owner/na me", "no such file or folder"),
        ("nowhere.pth", "no such file or folder"),
        ("no/where/a.pth", "there is no such file or folder, and no no/where either"),
        ("/dev/null", "a device or a pipe; give a run's folder"),
        ("a\0b", "no such file"),
        ("x" * 5000, "no such file"),
        ("~nobody-at-all/x", "no such file or folder"),
    ],
)
def test_what_means_nothing_is_answered_with_what_to_do(source, message):
    with pytest.raises(UserError, match=message) as caught:
        resolve(source)
    assert "\n" not in str(caught.value)


def test_a_mistyped_path_is_answered_with_what_is_beside_it():
    make("runs/shapes-001/best/config.json", "runs/shapes-001/best/model.safetensors", "other.txt")
    for source, near in {
        "runs/shapes-01": r"did you mean runs/shapes-001\? \(a hub model would be hf-hub:runs/shapes-01\)",
        "./runs/shapes-001/best/model.safetensor": r"did you mean runs/shapes-001/best/model\.safetensors",
        "runs/zzz": "runs holds shapes-001",
    }.items():
        with pytest.raises(UserError, match=f"no such file or folder; {near}"):
            resolve(source)


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tgz", "7z", "TAR.XZ", "gz"])
def test_archives(suffix):
    make(f"run.{suffix}")
    with pytest.raises(UserError, match=rf"run\.{suffix} looks like an archive; unpack it"):
        resolve(f"run.{suffix}")


def test_descriptions_are_answered_with_what_they_describe():
    make("run/best/config.json")
    with pytest.raises(UserError, match=r"describes a model and holds no weights; give run/best$"):
        resolve("run/best/config.json")


def test_folders_of_several():
    make("runs/a/best/config.json", "runs/b/best/config.json", "models/x/config.json", "models/y/config.json")
    make("models--owner--name/snapshots/0f0f/config.json")
    for source, message in {
        "runs": "runs holds several runs; give one of them: runs/a, runs/b",
        "models": "models holds models; give one of them: models/x, models/y",
        "models--owner--name": "give one of them: models--owner--name/snapshots/0f0f",
    }.items():
        with pytest.raises(UserError, match=message):
            resolve(source)


def test_checkpoints_to_go_on_from():
    make("run/train.json", "run/best/config.json", "run/last/config.json")
    make("run/checkpoints/step-4/model.safetensors", "young/train.json", "young/checkpoints/step-4/model.safetensors")
    step = "checkpoints/step-4"
    for source in ("run/checkpoints", f"run/{step}", f"run/{step}/model.safetensors"):
        with pytest.raises(UserError, match=r"for training to go on from and .*; give .*run/best or .*run/last$"):
            resolve(source)
    for source in ("young", f"young/{step}", f"young/{step}/model.safetensors"):
        with pytest.raises(UserError, match="nothing of this run was evaluated yet, so it has no best/ to use"):
            resolve(source)
