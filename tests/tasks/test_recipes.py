"""What every recipe must be: valid, of a model that we have, explained, and the same after a file."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from gcvit.data.sampling import Share
from gcvit.engine.config import load_config, save_config
from gcvit.factory import list_models
from gcvit.tasks import TASKS
from gcvit.tasks.classify.recipes import RECIPES as CLASSIFY
from gcvit.tasks.detect.recipes import RECIPES as DETECT
from gcvit.tasks.segment.recipes import RECIPES as SEGMENT

RECIPES = CLASSIFY | SEGMENT | DETECT
FREE = SEGMENT | DETECT  # which take pictures one by one


def test_no_two_recipes_have_one_name() -> None:
    assert {name for task in TASKS for name in task.recipes} == RECIPES.keys()
    assert sum(len(task.recipes) for task in TASKS) == len(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_costs_and_survives_a_file(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    config = recipe.config()
    assert recipe.name == name
    assert config.model in [*list_models(), "auto"]
    assert (config.model == "auto") <= (config.weights is not None)
    assert config == recipe.config()
    first, _, rest = recipe.help.partition("\n")
    assert first == f"{name}: {recipe.does}."
    assert len(name) + len(recipe.does) < 64  # a row of --list
    assert rest.strip().startswith(f"Cost: {recipe.cost}.")
    assert recipe.cost
    for where, command in recipe.commands:
        assert f"{where}: {command}" in rest
    save_config(config, tmp_path / "train.json")
    (task,) = (task for task in TASKS if name in task.recipes)
    assert isinstance(config, task.config)
    assert load_config(task.config(), tmp_path / "train.json") == config


def test_the_first_recipe_of_each_task_trains_on_built_in_pictures() -> None:
    for task in TASKS:
        config = next(iter(task.recipes.values())).config()
        assert (config.data, config.weights, config.pretrained) == (None, None, False)
        assert all(name in task.recipes for name in task.own_recipe)


def test_the_recipe_in_the_guide_is_one(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "training.md").read_text("utf8")
    _, _, rest = guide.partition("```toml\n")
    (tmp_path / "gulls.toml").write_text(rest.partition("```")[0])
    config = load_config(CLASSIFY["finetune"].config(), tmp_path / "gulls.toml")
    assert (config.data, config.weights, config.optim.lr) == ("photos/gulls", "gcvit_small", 2e-4)
    for name in CLASSIFY:
        assert name.startswith(("imagenet_", "table_", "open_")) or f"`{name}`" in guide or name == "quickstart"


@pytest.mark.parametrize(
    "name", [name for name in RECIPES if name not in ("quickstart", "small_images", "segment_small", "detect_small")]
)
def test_its_commands_divide_the_batch(name: str) -> None:
    """On 1, 8 and more GPUs as its text says. A classifier goes through in parts of one even size everywhere; batch
    norm in one on a single GPU wants more images than there are on each of many, where it is synchronised."""
    config, text = RECIPES[name].config(), RECIPES[name].help
    (task,) = (task.name for task in TASKS if name in task.recipes)
    nodes, before = (4, "") if name in CLASSIFY else (2, f"TASK={task} ")
    micro_batches = set()
    for label, gpus, start in (
        ("One GPU", 1, f"gcvit train {task}"),
        ("One node", 8, f"torchrun --nproc-per-node 8 -m gcvit train {task}"),
        ("Many nodes", 8 * nodes, f"{before}sbatch --nodes {nodes} examples/slurm.sbatch"),
    ):
        found = re.search(rf"{label}: (.+)", text)
        assert found is not None
        assert found[1].startswith(f"{start} {name} --data ")
        words = shlex.split(found[1])
        flags = dict(pairwise(words))
        batch = int(flags.get("--batch-size", config.batch_size))
        share = Share(batch, passes=int(flags.get("--accumulate", 1)), ranks=gpus)
        assert name in FREE or share.micro_batch % 2 == 0
        micro_batches.add(share.micro_batch)
    assert name in FREE or len(micro_batches) == 1


@pytest.mark.parametrize(("name", "windows"), [("tiny", (7, 7, 14, 7)), ("small", (32,) * 4), ("base", (32,) * 4)])
def test_ade20k_as_published(name: str, windows: tuple[int, ...]) -> None:
    config = SEGMENT[f"ade20k_{name}"].config()
    assert (config.model, config.windows, config.drop_path) == (f"gcvit_{name}", windows, 0.3)
    assert (config.steps, config.batch_size, config.resize) == (160_000, 16, (2048, 512))
    assert (config.augment.crop, config.augment.scale, config.augment.cat_max_ratio) == ((512, 512), (0.5, 2.0), 0.75)
    head, optim = config.head, config.optim
    assert (head.channels, head.bins, head.dropout, head.norm) == (512, (1, 2, 3, 6), 0.1, "batch")
    assert (head.aux_channels, head.aux_weight) == (256, 0.4)
    assert (optim.lr, optim.weight_decay, optim.schedule, optim.min_lr) == (6e-5, 0.01, "linear", 0.0)
    assert (optim.warmup, optim.warmup_lr, optim.clip_grad, optim.ema_decay) == ("1500 steps", 6e-11, None, None)
