"""The ImageNet recipes against what is known of the published runs, written down here once more."""

import re
from dataclasses import replace

import pytest
import torch
from timm.scheduler import create_scheduler_v2

from gcvit.data.sampling import Share
from gcvit.engine.loop import Plan
from gcvit.factory import create_model, variant
from gcvit.tasks.classify import AugmentConfig, ClassifyConfig
from gcvit.tasks.classify.recipes import RECIPES
from gcvit.weights.catalogue import CATALOGUE

IMAGES = 1_281_167  # of ImageNet-1K's training set

# batch, learning rate, drop path, crop, parameters, GMACs, top-1 of the paper, of the published checkpoint
PUBLISHED = {
    "xxtiny": (4096, 0.005, 0.2, 1.0, 11_995_428, 2.121, 79.8, 79.9),
    "xtiny": (4096, 0.005, 0.2, 0.875, 19_981_294, 2.913, 82.0, 82.0),
    "tiny": (4096, 0.005, 0.2, 1.0, 28_221_974, 4.761, 83.4, 83.5),
    "tiny2": (4096, 0.005, 0.25, 0.875, 34_535_654, 6.178, None, 83.7),
    "small": (1024, 0.002, 0.3, 0.875, 51_092_173, 8.530, 83.9, 84.3),
    "small2": (1024, 0.005, 0.35, 0.875, 68_615_197, 11.538, None, 84.8),
    "base": (1024, 0.001, 0.5, 1.0, 90_320_836, 14.816, 84.4, 85.0),
    "large": (1024, 0.001, 0.5, 1.0, 202_075_570, 32.555, 84.6, 85.7),
}
FINE_TUNED = {
    "large_384": (384, ((12, 12), (12, 12), (24, 24), (12, 12)), 202_860_610, 103.9, 87.4),
    "large_512": (512, ((16, 16), (16, 16), (32, 32), (16, 16)), 203_795_362, 202.1, 87.6),
}
TABLE_S3 = {
    "table_s3_32": (1024, None, 83.37),
    "table_s3_128": (4096, None, 83.38),
    "table_s3_32_ema": (1024, 0.9998, 83.39),
    "table_s3_128_ema": (4096, 0.9998, 83.40),
}
# 32 hours on 32 GPUs, on average over the paper's models, shared out by multiply-accumulates.
AVERAGE = sum(PUBLISHED[name][5] for name in ("xxtiny", "xtiny", "tiny", "small", "base", "large")) / 6


def parameters(config: ClassifyConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in create_model(config.model).parameters())


def says_cost(text: str, epochs: int, gmacs: float) -> None:
    """The help's cost is the one that follows from images and multiply-accumulates, to two digits."""
    found = re.search(r"Cost: about ([\d,]+) A100-hours \((\d+) M images × ([\d.]+) GMACs\)", text)
    assert found is not None
    hours = 32 * 32 * epochs * gmacs / (320 * AVERAGE)
    assert int(found[1].replace(",", "")) == pytest.approx(hours, rel=0.05)
    assert int(found[2]) == round(epochs * IMAGES / 1e6)
    assert float(found[3]) == pytest.approx(gmacs, abs=0.06 if gmacs > 100 else 0.006)


@pytest.mark.parametrize("name", PUBLISHED)
def test_from_scratch_as_it_was_run(name: str) -> None:
    batch_size, lr, drop_path, crop_pct, count, gmacs, paper, published = PUBLISHED[name]
    recipe = RECIPES[f"imagenet_{name}"]
    config, text = recipe.config(), recipe.help
    assert config.model == f"gcvit_{name}"
    assert (config.batch_size, config.crop_pct, config.epochs) == (batch_size, crop_pct, 310 + 10)
    assert not config.pretrained
    assert (config.weights, config.img_size, config.drop_path) == (None, None, None)  # the model's own
    assert variant(config.model).drop_path == drop_path
    assert parameters(config) == count
    optim = config.optim
    assert (optim.lr, optim.peak_lr(batch_size), optim.peak_lr(batch_size // 4)) == (lr, lr, lr / 4)
    assert (optim.betas, optim.eps, optim.weight_decay, optim.clip_grad) == ((0.9, 0.999), 1e-8, 0.05, 5)
    assert (optim.ema_decay, optim.ema_warmup, optim.layer_decay) == (0.9998, False, None)
    assert config.augment == AugmentConfig(
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        hflip=0.5,
        color_jitter=0.4,
        rand_augment="rand-m9-mstd0.5-inc1",
        random_erasing=0.25,
        interpolation="random",
        mixup=0.8,
        cutmix=1.0,
        mix_prob=1.0,
        mix_switch_prob=0.5,
        label_smoothing=0.1,
    )
    assert f"Top-1: the paper {paper}" in text if paper else "not in the paper" in text
    assert f"published checkpoint {published}" in text
    assert CATALOGUE[f"gcvit_{name}.nvlabs"].top1 == published
    says_cost(text, config.epochs, gmacs)


@pytest.mark.parametrize("updates", [1, 3])
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_schedule_is_timms_update_by_update(name: str, updates: int) -> None:
    """As NVlabs set it up: 310 epochs with 20 of warm-up inside, 10 more at the end."""
    config = RECIPES[f"imagenet_{name}"].config()
    lr = PUBLISHED[name][1]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    theirs, epochs = create_scheduler_v2(
        optimizer,
        "cosine",
        num_epochs=310,
        warmup_epochs=20,
        cooldown_epochs=10,
        warmup_lr=1e-6,
        min_lr=5e-6,
        step_on_epochs=False,
        updates_per_epoch=updates,
    )
    assert epochs == config.epochs
    assert theirs is not None
    plan = Plan(config.epochs, updates, Share(config.batch_size), config.optim, torch.device("cpu"))
    for step in range(epochs * updates):
        theirs.step_update(step)
        assert plan.learning_rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step


@pytest.mark.parametrize("name", FINE_TUNED)
def test_fine_tuning_at_higher_resolution(name: str) -> None:
    side, windows, count, gmacs, published = FINE_TUNED[name]
    recipe = RECIPES[f"imagenet_{name}"]
    config, text = recipe.config(), recipe.help
    assert (config.model, config.weights) == (f"gcvit_{name}_21k", "gcvit_large_21k")
    row = variant(config.model)
    assert (row.img_size, row.stage_windows, row.drop_path) == ((side, side), windows, 0.1)
    assert parameters(config) == count
    assert config.crop_pct == 1.0
    assert f"published checkpoint {published}" in text
    assert CATALOGUE[f"{config.model}.nvlabs"].top1 == published
    says_cost(text, config.epochs, gmacs)


@pytest.mark.parametrize("name", TABLE_S3)
def test_table_s3_is_the_tiny_recipe_with_another_batch_or_without_ema(name: str) -> None:
    batch_size, ema_decay, top1 = TABLE_S3[name]
    tiny, text = RECIPES["imagenet_tiny"].config(), RECIPES[name].help
    expected = replace(tiny, batch_size=batch_size, optim=replace(tiny.optim, lr_batch=batch_size, ema_decay=ema_decay))
    assert RECIPES[name].config() == expected
    assert expected.optim.peak_lr(batch_size) == 0.005  # the script does not scale it
    assert f"the paper {top1:.2f}" in text
    assert f"32 × {batch_size // 32}" in text
    says_cost(text, expected.epochs, PUBLISHED["tiny"][5])
