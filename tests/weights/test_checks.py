"""What weights may hold: floating-point numbers, all finite, each in memory of its own. Nothing is cast in silence."""

import struct
from math import inf, nan

import pytest
import torch
from safetensors.torch import load_file, save, save_file

import gcvit
from gcvit.opening import open as open_model
from gcvit.weights.checks import check_answers
from gcvit.weights.hub import save_hub
from weights.models import PREPROCESSING, pico, renamed, same

NAMES = ["stem.conv.bias", "stages.0.blocks.0.attention.bias.table", "stages.3.blocks.1.mlp.fc2.weight", "head.weight"]
OTHERS = (torch.int8, torch.uint8, torch.bool, torch.uint16, torch.int64, torch.complex64, torch.float8_e4m3fn)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_hub(pico(), tmp_path_factory.mktemp("values"), preprocessing=PREPROCESSING)


def refused(folder, state, message):
    """From memory, from either kind of file and from a hub folder; and the model is what it was."""
    target, before = pico(seed=1), pico(seed=1)
    torch.save({"state_dict": state}, folder / "a.pth")
    (folder / "model.safetensors").write_bytes(save(state))
    for opened in (
        lambda: gcvit.load_weights(target, state),
        lambda: gcvit.load_weights(target, folder / "a.pth"),
        lambda: gcvit.load_weights(target, folder),
        lambda: open_model(folder),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            opened()
        assert "\n" not in str(caught.value)
    assert same(target, before)


@pytest.mark.parametrize(("name", "dtype"), [*zip(NAMES * 2, OTHERS, strict=False)])
def test_other_types_than_floating_point_are_refused_by_name(folder, name, dtype):
    state = pico().state_dict()
    state[name] = torch.ones(state[name].shape).to(dtype)
    refused(folder, state, rf"floating-point numbers \(float32, .*\), not {name} \({str(dtype)[6:]}\)")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_point_types_are_converted(dtype):
    source = pico()
    target = pico(seed=1)
    gcvit.load_weights(target, {name: tensor.to(dtype) for name, tensor in source.state_dict().items()})
    assert same(target, source.to(dtype).float())


@pytest.mark.parametrize(("name", "value"), [*zip(NAMES, [nan, inf, -inf, nan], strict=True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_not_finite_is_refused_by_name(folder, name, value, dtype):
    state = {name: tensor.to(dtype) for name, tensor in pico().state_dict().items()}
    state[name].view(-1)[-1] = value
    refused(folder, state, rf"1 of \d+ tensors hold NaN or infinite values.*: {name};")


def test_what_is_too_large_for_the_model_is_refused(folder):
    state = {name: tensor.double() for name, tensor in pico().state_dict().items()}
    state["norm.bias"][0] = 1e200
    refused(folder, state, r"too large ones for float32\): norm.bias")
    half = pico(seed=1).half()
    with pytest.raises(ValueError, match=r"too large ones for float16\): norm.bias"):
        gcvit.load_weights(half, state | {"norm.bias": torch.full((128,), 1e6)})


def test_what_is_not_loaded_may_be_anything():
    source, target = pico(), pico(seed=1, head=False)
    state = source.state_dict() | {"head.weight": torch.full((5, 128), nan), "head.bias": torch.zeros(5).bool()}
    gcvit.load_weights(target, state)
    gcvit.load_weights(pico(num_classes=7), state, replace_head=True)
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: torch.zeros(1).expand(x.shape), "views of each other: norm.weight"),
        (lambda x: x.to_sparse(), "ordinary tensors, .*: norm.weight"),
        (lambda x: x.to("meta"), "ordinary tensors, .*: norm.weight"),
        (lambda x: torch.zeros(0), "ordinary tensors, not empty.*: norm.weight"),
    ],
)
def test_tensors_of_special_kinds_are_refused(tmp_path, change, message):
    state = pico().state_dict()
    state["norm.weight"] = change(state["norm.weight"])
    torch.save(state, tmp_path / "a.pth")
    for source in (state, tmp_path / "a.pth"):
        with pytest.raises(ValueError, match=message):
            gcvit.load_weights(pico(), source)


def test_views_of_another_tensor_are_refused_and_parts_of_one_buffer_are_not(tmp_path):
    source = pico()
    state = source.state_dict()
    flat = torch.cat([tensor.flatten() for tensor in state.values()])
    parts = flat.split([tensor.numel() for tensor in state.values()])
    torch.save({name: part.view(state[name].shape) for name, part in zip(state, parts, strict=True)}, tmp_path / "a.pt")
    target = pico(seed=1)
    gcvit.load_weights(target, tmp_path / "a.pt")
    assert same(source, target)
    columns = state["stages.0.blocks.0.attention.qkv.weight"].clone().t().contiguous().t()  # transposed in memory
    gcvit.load_weights(target, state | {"stages.0.blocks.0.attention.qkv.weight": columns})
    buffer = torch.zeros(1_000)
    for views in (
        {"norm.bias": state["norm.weight"]},
        {"norm.bias": state["head.weight"].view(-1)[:128]},
        {"norm.weight": buffer[:128], "norm.bias": buffer[127:255]},
    ):
        torch.save(state | views, tmp_path / "a.pt")
        with pytest.raises(ValueError, match="views of each other: "):
            gcvit.load_weights(pico(), tmp_path / "a.pt")


def test_answers():
    for good in (torch.zeros(2, 3), torch.tensor([3e38]), torch.zeros(0), torch.tensor([6e4]).half()):
        check_answers(good, "model")
    for bad in (nan, inf, -inf):
        for shape in ((2, 3), (1, 3, 4, 4)):
            answers = torch.zeros(shape)
            answers.view(-1)[-1] = bad
            with pytest.raises(ValueError, match="model: the model's answers are not finite"):
                check_answers(answers, "model")


@pytest.mark.parametrize("layout", ["gcvit", "nvlabs", "timm"])
def test_one_broken_number_anywhere_is_found(tmp_path, layout):
    """By hand in the file's bytes, so that nothing that reads it can have made it finite."""
    path = tmp_path / "a.safetensors"
    save_file(renamed(pico(), layout), path)
    content, count = path.read_bytes(), sum(x.numel() for x in load_file(path).values())
    for place in (0, count // 3, count - 1):
        start = len(content) - 4 * (count - place)
        path.write_bytes(content[:start] + struct.pack("<f", nan) + content[start + 4 :])
        with pytest.raises(ValueError, match=r"1 of [0-9]+ tensors hold NaN"):
            open_model(path)
