"""From scratch on the built-in scenes: the same detection heads on a small GC ViT, on timm's Swin and on a ResNet.

    python runs/detect_backbones.py [--steps 500] [--seeds 3] [--out detect-backbones] [--arms gcvit swin resnet]
        [--head mask-rcnn] [--scenes 500] [--data PATH]

All have one budget, that of the recipe `detect_small` with another number of steps: the same pictures in the same
order, the same steps, schedule and optimiser, no stochastic depth. The backbones' multiply-accumulates at the scenes'
size are within 10% of each other. Held out are 500 scenes, or those of PATH; each model is measured once, after the
last step, so nothing is chosen on them. Each run's curve goes to OUT/ARM-SEED.jsonl, its result to OUT/results.jsonl; a
study that was stopped goes on where it is started again. Ends with a table.
"""

from dataclasses import replace

from study import compare_from_scratch, costs, print_results, study_parser
from torch import nn

import gcvit
from gcvit.bench.peers import SwinPyramid, TimmPyramid, swin
from gcvit.model.gcvit import Images, Map
from gcvit.tasks.detect import DETECT, HeadConfig
from gcvit.tasks.detect.detector import Detector
from gcvit.tasks.detect.recipes import detect_small

FIGURES = {"box_ap50": "box AP50", "mask_ap": "mask AP", "mask_ap50": "mask AP50"}


def gc_vit(classes: int, size: int, head: HeadConfig) -> Detector:
    """The recipe's: 16 to 128 channels, two blocks per stage."""
    return Detector(gcvit.create_model("gcvit_pico", img_size=size, head=False, drop_path=0.0), classes, head)


def swin_detector(classes: int, size: int, head: HeadConfig) -> Detector:
    """As deep and wide as ours, with attention heads of 16 channels and windows of 4 tokens a side."""
    return Detector(SwinPyramid(swin(16, (2, 2, 2, 2), (1, 2, 4, 8), window=4, drop_path=0.0)), classes, head)


def resnet(classes: int, size: int, head: HeadConfig) -> Detector:
    """A ResNet-18 of a fraction of the width, for any size."""
    backbone = TimmPyramid("resnet18", channels=(14, 28, 56, 112), stem_type="deep", stem_width=6)
    return Detector(backbone, classes, head)


ARMS = {"gcvit": gc_vit, "swin": swin_detector, "resnet": resnet}


class Backbone(nn.Module):
    """A detector as far as its four maps, which is what is of equal cost; its weights are all of the detector's."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Images) -> list[Map]:
        return self.detector.backbone.pyramid(images)


def main() -> None:
    parser = study_parser(__doc__, "detect-backbones")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--head", choices=("mask-rcnn", "cascade"), default="mask-rcnn")
    parser.add_argument("--scenes", type=int, default=500, help="built-in scenes to measure on")
    parser.add_argument("--data", help="a folder in COCO's format instead of the built-in scenes")
    options = parser.parse_args()
    recipe = detect_small()
    config = replace(
        recipe,
        data=options.data,
        steps=options.steps,
        eval_every=options.steps,
        val_images=options.scenes,
        device=options.device,
        workers=options.workers,
        head=replace(recipe.head, head=options.head),
    )
    data = DETECT.open_data(config)

    def make(arm: str, classes: int) -> Detector:
        return ARMS[arm](classes, config.size, config.head)

    counted = {arm: Backbone(make(arm, len(data.classes))) for arm in options.arms}
    columns = costs(counted, Backbone(make("gcvit", len(data.classes))), config.size)
    results = compare_from_scratch(options, DETECT, config, make)
    facts = {
        arm: {name.replace("MMACs", "MMACs of the backbone"): cell for name, cell in row.items()}
        for arm, row in columns.items()
    }
    print_results(results, facts, score="box AP", figures=FIGURES)


if __name__ == "__main__":
    main()
