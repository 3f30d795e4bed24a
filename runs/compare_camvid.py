"""From scratch on street scenes: UPerNet on a small GC ViT, on timm's Swin, and segmentation_models_pytorch's UPerNet
on a ResNet, at one cost.

    python runs/compare_camvid.py DATA [--steps 500] [--seeds 3] [--out compare-camvid] [--arms gcvit swin resnet]

All have one budget: the same crops in the same order, the same steps, schedule and optimiser, batch norm, no stochastic
depth. Their multiply-accumulates at the crop's size are within 10% of each other, counted alike. GC ViT and Swin have
our heads, with the auxiliary one in training; segmentation_models_pytorch's has none. Held out is DATA's validation
part; each model is evaluated once, after the last step, so nothing is chosen on it. Each run's curve goes to
OUT/ARM-SEED.jsonl, its result to OUT/results.jsonl; a study that was stopped goes on where it is started again.
"""

from study import compare_from_scratch, costs, print_results, study_parser
from torch import nn

import gcvit
from gcvit.bench.peers import SmpSegmenter, SwinPyramid, swin
from gcvit.data.settings import LabelReading
from gcvit.engine.settings import OptimConfig
from gcvit.tasks.segment import SEGMENT, SceneAugmentConfig, SegmentConfig, UPerNetConfig
from gcvit.tasks.segment.segmenter import Segmenter

CROP = (192, 256)  # pixels
HEAD = UPerNetConfig(channels=48, aux_channels=32)


def gc_vit(classes: int) -> nn.Module:
    """16 to 128 channels, two blocks per stage."""
    return Segmenter(gcvit.create_model("gcvit_pico", img_size=CROP, head=False, drop_path=0.0), classes, HEAD)


def swin_upernet(classes: int) -> nn.Module:
    """As deep and wide as ours, with attention heads of 16 channels and the windows of Swin-T."""
    return Segmenter(SwinPyramid(swin(16, (2, 2, 2, 2), (1, 2, 4, 8), drop_path=0.0)), classes, HEAD)


def resnet_upernet(classes: int) -> nn.Module:
    """A ResNet-18 of a quarter of the width, in segmentation_models_pytorch; 36 channels in its decoder."""
    width = {"channels": (16, 32, 64, 128), "stem_width": 16}
    return SmpSegmenter("tu-resnet18", classes, channels=36, encoder_settings=width)


ARMS = {"gcvit": gc_vit, "swin": swin_upernet, "resnet": resnet_upernet}


def main() -> None:
    parser = study_parser(__doc__, "compare-camvid")
    parser.add_argument("data", help="folder with images/training, annotations/training, and the same with validation")
    parser.add_argument("--ignore-label", type=int, default=11)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    options = parser.parse_args()
    config = SegmentConfig(
        data=options.data,
        reading=LabelReading(ignore_label=options.ignore_label),
        resize=(256, 192),
        steps=options.steps,
        eval_every=options.steps,
        batch_size=8,
        device=options.device,
        workers=options.workers,
        head=HEAD,
        augment=SceneAugmentConfig(crop=CROP, scale=(0.75, 1.75)),
        optim=OptimConfig(lr=2e-3, schedule="linear", weight_decay=0.05, warmup="50 steps", min_lr=0.0, ema_decay=0.99),
    )
    classes = len(SEGMENT.open_data(config).classes)
    columns = costs({arm: ARMS[arm](classes) for arm in options.arms}, gc_vit(classes), CROP)
    results = compare_from_scratch(options, SEGMENT, config, lambda arm, classes: ARMS[arm](classes))
    print_results(results, columns, score="mIoU")


if __name__ == "__main__":
    main()
