"""Fine-tuning from the built-in shapes to class folders of small photographs, against training from scratch.

    python runs/finetune_photos.py DATA CHECKPOINT [--epochs 4] [--seeds 3] [--layer-decay 0.75] [--out finetune-photos]

CHECKPOINT is a hub folder of the recipe's model, `gcvit_pico` at 64 px, such as best/ of `gcvit train classify
quickstart`. The three arms have one budget, that of the recipe `small_images` with another number of epochs, and the
same images in the same order with the same augmentation. They differ in what they start from, and in whether the
learning rate falls from each layer to the one below it. Held out are the images in DATA/val; each model is evaluated
after the last epoch only, so nothing is chosen on them. Each run has the folder OUT/ARM-SEED, its result goes to
OUT/results.jsonl; a study that was stopped goes on where it is started again. Ends with a table.
"""

from dataclasses import replace
from pathlib import Path

from study import print_results, run_study, study_parser

from gcvit.bench.from_scratch import Result, result_of
from gcvit.engine.config import as_dict
from gcvit.tasks.classify import CLASSIFY, ClassifyConfig
from gcvit.tasks.classify.recipes import small_images
from gcvit.tasks.train import train


def main() -> None:
    recipe = small_images()
    parser = study_parser(__doc__, "finetune-photos")
    parser.add_argument("data", help="folder with train/CLASS/… and val/CLASS/…")
    parser.add_argument("checkpoint", help="hub folder to fine-tune from")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=recipe.optim.lr, help="peak learning rate of all arms")
    parser.add_argument("--layer-decay", type=float, default=0.75)
    options = parser.parse_args()

    scratch = replace(
        recipe,
        data=options.data,
        epochs=options.epochs,
        eval_every=options.epochs,
        device=options.device,
        workers=options.workers,
        optim=replace(recipe.optim, lr=options.lr),
    )
    finetune = replace(scratch, weights=options.checkpoint)
    layer_decay = replace(finetune, optim=replace(finetune.optim, layer_decay=options.layer_decay))
    arms = {"scratch": scratch, "finetune": finetune, "layer-decay": layer_decay}
    results = run_study(
        options.out,
        list(arms),
        options.seeds,
        {arm: as_dict(replace(config, workers=0)) for arm, config in arms.items()},  # workers do not change the results
        lambda arm, seed: run(replace(arms[arm], seed=seed), options.out / f"{arm}-{seed}"),
    )
    differences = {
        arm: {"start": config.weights or "random", ">layer decay": str(config.optim.layer_decay or "–")}
        for arm, config in arms.items()
    }
    print_results(results, differences)


def run(config: ClassifyConfig, folder: Path) -> Result:
    """One whole training run in a folder of its own, where a stopped one goes on."""
    found = train(CLASSIFY, config, folder)
    return result_of(CLASSIFY, found.evaluation.metrics, found.seconds, folder / "log.jsonl")


if __name__ == "__main__":
    main()
