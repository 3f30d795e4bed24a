"""Training and evaluation: the same when nothing is random, and in evaluation nothing is ever random."""

import pytest
import torch

from gcvit.model import GCViT
from gcvit.model.layers import DropPath
from laws import bugs
from laws.models import SMALL, assert_equal, random_images, small_model

RANDOM = {"drop_path": 0.4, "dropout": 0.2, "attention_dropout": 0.2, "head_dropout": 0.2}


@torch.no_grad()
def check_modes_agree(**changes):
    model, images = small_model(**changes), random_images(2, 96, 70)
    evaluated, trained = model.eval()(images), model.train()(images)
    assert torch.equal(trained, evaluated), "train and eval disagree"


@torch.no_grad()
def check_nothing_random_in_eval():
    """Rates of dropout and drop path leave no trace in eval mode."""
    images = random_images(2, 96, 70)
    plain, random = small_model()(images), small_model(**RANDOM)(images)
    assert torch.equal(random, plain), "a rate shows in eval mode"


@torch.no_grad()
def check_deterministic(model, images):
    assert torch.equal(model(images), model(images)), "two passes disagree"


def test_train_and_eval_agree_when_nothing_is_random():
    check_modes_agree()
    check_modes_agree(layer_scale=0.1)


@pytest.mark.parametrize("rate", RANDOM)
def test_the_check_of_modes_notices(rate):
    """…each source of randomness: so all four rates do something in training."""
    with pytest.raises(AssertionError, match="train and eval disagree"):
        check_modes_agree(**{rate: 0.4})


def test_nothing_is_random_in_eval():
    check_nothing_random_in_eval()
    check_deterministic(small_model(**RANDOM), random_images(2, 96, 70))


def test_the_check_of_eval_notices(monkeypatch):
    bugs.drop_path_in_eval(monkeypatch)
    with pytest.raises(AssertionError, match="a rate shows in eval mode"):
        check_nothing_random_in_eval()
    with pytest.raises(AssertionError, match="two passes disagree"):
        check_deterministic(small_model(**RANDOM), random_images(2, 96, 70))


def test_the_same_seed_gives_the_same_model_and_the_same_training_pass():
    images = random_images(2, 64, 64, dtype=torch.float32)
    outputs = []
    for _ in range(2):
        torch.manual_seed(7)
        model = GCViT(SMALL).train()
        outputs.append((model.state_dict(), model(images)))
    (first, logits), (second, others) = outputs
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(logits, others)


def test_drop_path_leaves_out_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    layer, x = DropPath(0.25).train(), torch.ones(4000, 3, 2, 5)
    y = layer(x).flatten(1)
    assert torch.equal(y, y[:, :1].expand_as(y)), "an image was left out in part"
    kept = y[:, 0] != 0
    assert torch.allclose(y[kept], torch.tensor(4 / 3))
    assert abs(kept.double().mean() - 0.75) < 0.03
    assert layer.eval()(x) is x


def test_drop_path_grows_linearly_with_depth():
    model = small_model(depths=(2, 3, 4, 2), drop_path=0.3)
    rates = [block.drop_path.rate for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0.03 * i for i in range(11)])


@torch.no_grad()
def test_dropped_images_are_left_out_of_a_block_not_of_the_batch():
    """With a drop path of nearly 1, a training pass is the network without its blocks, for every image."""
    model, images = small_model(drop_path=0.999), random_images(2, 64, 64)
    torch.manual_seed(0)
    for stage in model.stages:
        for block in stage.blocks:
            block.drop_path.rate = 0.999
    x = model.stem(images)
    for stage in model.stages:
        x = stage.downsample(x)
    expected = model.head(model.norm(x).mean((1, 2)))
    assert_equal(model.train()(images), expected, "logits without blocks")
