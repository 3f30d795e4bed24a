"""Weights as people have them: inside what trainers save, under their prefixes, beside what they count."""

import argparse
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import gcvit
from weights.models import pico, prefixed, renamed, same

LAYOUTS = ["gcvit", "nvlabs", "timm"]


def loads(content, source, path=None, **words):
    """The report, after making sure that the weights arrived, from memory and from a file alike."""
    for given in [content] if path is None else [content, path]:
        if path is not None:
            torch.save(content, path)
        target = pico(seed=9, **({"head": False} if not source.config.head else {}))
        report = gcvit.load_weights(target, given, **words)
        assert same(source, target)
    return report


PREFIXES = [
    *("module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.", "module.module.", "a.b.c."),
    *("model.", "net.", "backbone.", "student.", "encoder.", "model.module.", "module.model._orig_mod."),
]


@pytest.mark.parametrize(("prefix", "layout"), [*zip(PREFIXES, LAYOUTS * 5, strict=False)])
def test_prefixes_in_any_order(layout, prefix):
    source = pico()
    assert loads(prefixed(renamed(source, layout), prefix), source).dropped == []


def test_wrappers_around_parts_of_the_model():
    source = pico()
    wrapped = {
        name.replace("blocks.1.", "blocks.1._checkpoint_wrapped_module.").replace("stages.2.", "stages.2._orig_mod."): x
        for name, x in source.state_dict().items()
    }
    assert len(set(wrapped) - set(source.state_dict())) > 50
    loads(prefixed(wrapped, "_fsdp_wrapped_module."), source)


def test_averaged_models_of_torch_and_torchvision(tmp_path):
    source, raw = pico(), pico(seed=1)
    averaged = AveragedModel(source, multi_avg_fn=get_ema_multi_avg_fn(0.9)).state_dict()
    assert "n_averaged" in averaged
    loads(averaged, source, tmp_path / "swa.pth")
    loads(averaged, source, ema=True)
    training = {
        "model": raw.state_dict(),
        "model_ema": averaged,
        "args": argparse.Namespace(lr=0.1, output_dir=Path("runs")),
        "scaler": {"scale": 65536.0},
    }
    loads(training, raw, tmp_path / "torchvision.pth")
    loads(training, source, tmp_path / "torchvision.pth", ema=True)


@pytest.mark.parametrize(("layout", "prefix"), [("gcvit", "model."), ("nvlabs", "net."), ("timm", "module.net.")])
def test_lightning(tmp_path, layout, prefix):
    source, averaged = pico(), pico(seed=1)
    beside = {"criterion.weight": torch.ones(5), "accuracy.tp": torch.zeros(5, dtype=torch.int64)}
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": prefixed(renamed(source, layout), prefix) | beside,
        "hyper_parameters": {"lr": np.float64(1e-3), "shape": np.arange(3), "args": argparse.Namespace(a=1)},
        "callbacks": {"EMA": {"decay": 0.99, "ema_state_dict": prefixed(renamed(averaged, layout), prefix)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
    }
    report = loads(content, source, tmp_path / "last.ckpt")
    assert report.dropped == list(beside)
    assert "not used: criterion.weight, accuracy.tp" in str(report)
    loads(content, averaged, tmp_path / "last.ckpt", ema=True)
    content["state_dict"] |= prefixed(renamed(averaged, layout), "ema_model.module.")
    del content["callbacks"]
    loads(content, source)
    loads(content, averaged, ema=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_backbones_of_dense_models(tmp_path, layout):
    """mmsegmentation and mmdetection: the backbone beside heads, with norms of its maps; never the heads alone."""
    source = pico(head=False)
    heads = {
        "decode_head.conv_seg.weight": torch.zeros(3, 4, 1, 1),
        "neck.fpn_convs.0.conv.weight": torch.zeros(1),
        "roi_head.bbox_head.0.fc_cls.weight": torch.zeros(2, 2),
    }
    norms = {f"norm{stage}.{kind}": torch.ones(4) for stage in range(4) for kind in ("weight", "bias")}
    state = prefixed(renamed(source, layout) | norms, "backbone.") | heads
    content = {"meta": {"epoch": 1, "CLASSES": ("a", "b"), "time": "now"}, "state_dict": state, "optimizer": {}}
    report = loads(content, source, tmp_path / "epoch_1.pth")
    assert report.dropped == [*heads, *norms]


class HistoryBuffer:
    """Pickled as mmengine pickles its own: arrays, and functions that summarise them."""

    def __init__(self):
        self.log_history = np.arange(3.0)

    def mean(self):
        return self.log_history.mean()

    def __getstate__(self):
        return self.__dict__ | {"statistics_methods": {"mean": HistoryBuffer.mean}}


def test_history_of_mmengine(tmp_path, monkeypatch):
    name = ""
    for part in ("mmengine", "logging", "history_buffer"):
        name = f"{name}.{part}".lstrip(".")
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules[name].HistoryBuffer = HistoryBuffer
    for described in (HistoryBuffer, HistoryBuffer.mean):
        monkeypatch.setattr(described, "__module__", name)
    source, target = pico(), pico(seed=1)
    content = {"message_hub": {"log_scalars": {"loss": HistoryBuffer()}}, "state_dict": source.state_dict()}
    torch.save(content, tmp_path / "iter_100.pth")
    monkeypatch.undo()
    gcvit.load_weights(target, tmp_path / "iter_100.pth")
    assert same(source, target)


def test_counters_of_profilers_are_no_weights():
    source = pico()
    state = dict(source.state_dict())
    for module in {name.rpartition(".")[0] for name in state} | {""}:
        for counter in ("total_ops", "total_params"):
            state[f"{module}.{counter}".lstrip(".")] = torch.zeros(1, dtype=torch.float64)
    assert loads(state, source).dropped == []


@pytest.mark.parametrize("key", ["model_state_dict", "net", "weights", "ema", "student", "teacher", "module"])
def test_any_key_where_only_one_model_is_there(tmp_path, key):
    source = pico()
    loads({"epoch": 1, key: source.state_dict(), "optimizer": {"state": {}}}, source, tmp_path / "a.pth")


def test_the_usual_place_comes_first():
    source, other = pico(), pico(seed=1).state_dict()
    for content in ({"state_dict": source.state_dict()}, {"model": source.state_dict()}, dict(source.state_dict())):
        loads({"best": other, "epoch_1": other} | content, source)
    loads({"state_dict": source.state_dict(), "model": other}, source)


@pytest.mark.parametrize(
    "content",
    [
        lambda a, b: {"student": a, "teacher": b},
        lambda a, b: {"state_dict": prefixed(a, "student.") | prefixed(b, "teacher.")},
        lambda a, b: prefixed(a, "encoder_q.") | prefixed(b, "encoder_k."),
        lambda a, b: {"epoch_1": a, "epoch_2": b},
    ],
)
def test_several_models_are_not_guessed(content):
    target = pico(seed=2)
    with pytest.raises(
        ValueError, match=r"weights of several models: .*(student|encoder_k|epoch_1).*file of their own"
    ):
        gcvit.load_weights(target, content(pico().state_dict(), renamed(pico(seed=1), "nvlabs")))
    assert same(target, pico(seed=2))


def test_a_teacher_of_another_kind_is_not_confused_with_a_gcvit():
    source = pico()
    vit = {"teacher.patch_embed.proj.weight": torch.zeros(3, 3)} | {
        f"teacher.blocks.{i}.a": torch.ones(1) for i in range(9)
    }
    loads(prefixed(source.state_dict(), "student.") | vit, source)
    loads(source.state_dict() | vit, source)


def test_the_same_name_twice_is_an_error():
    state = pico().state_dict()
    for twice in (prefixed(state, "module."), {"module.norm.bias": state["norm.bias"].clone()}):
        with pytest.raises(ValueError, match=r"two tensors in it are called .*norm\.bias|several models|are called"):
            gcvit.load_weights(pico(seed=1), state | twice)
    theirs = renamed(pico(), "nvlabs") | {"stages.0.blocks.0.norm1.bias": torch.zeros(16)}
    with pytest.raises(ValueError, match=r"two tensors in it stand for stages\.0\.blocks\.0\.norm1\.bias"):
        gcvit.load_weights(pico(seed=1), theirs)


def test_names_that_it_did_not_know_are_listed():
    state = prefixed(pico().state_dict(), "model.") | {f"model.extra.{i}": torch.zeros(1) for i in range(12)}
    with pytest.raises(ValueError, match=r"left over \(12\): extra\.0, .*extra\.7 and 4 more"):
        gcvit.load_weights(pico(), state)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds nothing"),
        ({"epoch": 1, "args": None}, "no state dict in it; it holds epoch, args"),
        (
            {"state_dict": {"conv1.weight": torch.zeros(1)}},
            r"not a GC ViT's weights; the first names are conv1\.weight",
        ),
        ({"state_dict": {"stem.conv.weight": "text"}}, "no state dict in it"),
        ([1, 2], "holds a list, not a state dict"),
        (torch.zeros(3), "holds a Tensor"),
    ],
)
def test_what_holds_no_gcvit(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=message):
        gcvit.load_weights(pico(), tmp_path / "a.pth")


def test_a_mapping_that_holds_itself_ends():
    content = {"state_dict": dict(pico().state_dict())}
    for key in "abcdefgh":
        content[key] = content["state_dict"][key] = content
    gcvit.load_weights(pico(seed=1), content)


def test_one_model_under_two_keys_is_one(tmp_path):
    source = pico()
    state = dict(source.state_dict())
    loads({"net": state, "best": {"net": state}}, source, tmp_path / "a.pth")
