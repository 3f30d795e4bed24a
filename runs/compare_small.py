"""From scratch on class folders of small photographs: our small GC ViT, timm's Swin and timm's ConvNeXt at one cost.

    python runs/compare_small.py DATA [--epochs 4] [--seeds 3] [--out compare-small] [--arms gcvit swin convnext]

All have one budget, that of the recipe `small_images` with another number of epochs: the same images in the same order
with the same augmentation, the same steps, schedule and optimiser, no stochastic depth. Swin and ConvNeXt are scaled
until their multiply-accumulates at 64 px are within 10% of ours. Held out are the images in DATA/val; each model is
evaluated once, after the last epoch, so nothing is chosen on them. Each run's curve goes to OUT/ARM-SEED.jsonl, its
result to OUT/results.jsonl; a study that was stopped goes on where it is started again. Ends with a table.
"""

from dataclasses import replace

from study import compare_from_scratch, costs, print_results, study_parser
from timm.models.convnext import ConvNeXt
from timm.models.swin_transformer import SwinTransformer
from torch import nn

import gcvit
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.classify.recipes import small_images

SIZE = 64  # pixels


def gc_vit(classes: int) -> nn.Module:
    """The recipe's model: 16 to 128 channels, two blocks per stage, windows of 4, 4, 4 and 2 tokens."""
    return gcvit.create_model("gcvit_pico", num_classes=classes, img_size=SIZE, drop_path=0.0)


def swin(classes: int) -> nn.Module:
    """As deep and wide as ours, with its windows and heads of 16 channels; the rest as in Swin-T."""
    return SwinTransformer(
        img_size=SIZE,
        patch_size=4,
        window_size=4,
        embed_dim=16,
        depths=(2, 2, 2, 2),
        num_heads=(1, 2, 4, 8),
        num_classes=classes,
        drop_path_rate=0.0,
    )


def convnext(classes: int) -> nn.Module:
    """As wide as ours, with most of its depth in the third stage, as in ConvNeXt-T.

    Without the layer scale: starting at 1e-6 it costs ConvNeXt 4.5 points of top-1 in the first epoch on the CIFAR-10
    photographs, and neither of the other two has one.
    """
    return ConvNeXt(
        depths=(2, 2, 5, 2),
        dims=(16, 32, 64, 128),
        num_classes=classes,
        ls_init_value=None,
        drop_path_rate=0.0,
    )


ARMS = {"gcvit": gc_vit, "swin": swin, "convnext": convnext}


def main() -> None:
    parser = study_parser(__doc__, "compare-small")
    parser.add_argument("data", help="folder with train/CLASS/… and val/CLASS/…")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    options = parser.parse_args()
    config = replace(
        small_images(),
        data=options.data,
        epochs=options.epochs,
        drop_path=0.0,
        device=options.device,
        workers=options.workers,
    )
    classes = len(CLASSIFY.open_data(config).classes)
    columns = costs({arm: ARMS[arm](classes) for arm in options.arms}, gc_vit(classes), SIZE)
    results = compare_from_scratch(options, CLASSIFY, config, lambda arm, classes: ARMS[arm](classes))
    print_results(results, columns)


if __name__ == "__main__":
    main()
