"""What every recipe must be: valid, of a model that we have, explained, and the same after a file."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from gcvit.data.sampling import Share
from gcvit.engine.config import load_config, save_config
from gcvit.factory import list_models
from gcvit.recipes import RECIPES
from gcvit.tasks.classify import ClassifyConfig


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_costs_and_survives_a_file(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    config = recipe()
    assert config.model in [*list_models(), "auto"]
    assert (config.model == "auto") <= (config.weights is not None)
    assert config == recipe()
    first, _, rest = (recipe.__doc__ or "").partition("\n")
    assert first.endswith(".")
    assert len(name) + len(first) < 64  # a row of --list
    assert "Cost: " in rest
    save_config(config, tmp_path / "train.json")
    assert load_config(ClassifyConfig(), tmp_path / "train.json") == config


def test_the_recipe_in_the_guide_is_one(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "training.md").read_text("utf8")
    _, _, rest = guide.partition("```toml\n")
    (tmp_path / "gulls.toml").write_text(rest.partition("```")[0])
    config = load_config(RECIPES["finetune"](), tmp_path / "gulls.toml")
    assert (config.data, config.weights, config.optim.lr) == ("photos/gulls", "gcvit_small", 2e-4)
    for name in RECIPES:
        assert name.startswith(("imagenet_", "table_s3_")) or f"`{name}`" in guide or name == "quickstart"


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in ("quickstart", "small_images")])
def test_its_commands_divide_the_batch(name: str) -> None:
    """On 1, 8 and 32 GPUs as its text says; for one machine and one GPU with passes as large as on many."""
    config, text = RECIPES[name](), RECIPES[name].__doc__ or ""
    micro_batches = set()
    for label, gpus, start in (
        ("One GPU", 1, "gcvit train classify"),
        ("One node", 8, "torchrun --nproc-per-node 8 -m gcvit train classify"),
        ("Many nodes", 32, "sbatch --nodes 4 examples/slurm.sbatch"),
    ):
        found = re.search(rf"{label}: (.+)", text)
        assert found is not None
        assert found[1].startswith(f"{start} {name} --data ")
        words = shlex.split(found[1])
        flags = dict(pairwise(words))
        batch = int(flags.get("--batch-size", config.batch_size))
        share = Share(batch, passes=int(flags.get("--accumulate", 1)), ranks=gpus)
        assert share.micro_batch % 2 == 0
        micro_batches.add(share.micro_batch)
    assert len(micro_batches) == 1
