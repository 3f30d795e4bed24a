"""Our detection heads beside mmdetection's (its maintained fork, Apache-2.0): equal weights, pictures and samples.

    python runs/detect_parity.py [FOLDER]

Swin-T under the published heads with 80 classes, two pictures with objects, in fp32 on the CPU: every training loss,
then what is found. FOLDER keeps the packages that are compared with; none: they are fetched and removed. Exit code 0
when each loss agrees to 1e-4, and detections and masks agree. Takes some minutes and 4 GB of memory.
"""

import importlib.abc
import importlib.machinery
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from gcvit.bench.peers import SWIN_SIZES, SwinPyramid, swin
from gcvit.tasks.detect import HeadConfig, matching
from gcvit.tasks.detect.detector import Detector
from gcvit.tasks.detect.mmdet import head_names
from gcvit.tasks.detect.objects import Detections, Targets
from gcvit.tasks.detect.pasting import paste

# Without what they depend on, of which only a little is used. `mmcv-lite` has no operators: torchvision's take their
# place.
PACKAGES = (
    *("onedl-mmdetection==3.5.1", "onedl-mmengine", "mmcv-lite", "addict", "yapf", "termcolor", "terminaltables"),
    *("pycocotools", "shapely", "six"),
)
CLASSES, SIZE = 80, (256, 320)
CLOSE = 1e-4  # of losses relatively, of boxes in pixels and of scores
TURNED = 1e-4  # share of the masks' pixels


# Theirs.


class RoIAlign(nn.Module):
    def __init__(self, output_size: int, spatial_scale: float, sampling_ratio: int) -> None:
        super().__init__()
        self.output_size, self.settings = (output_size, output_size), (spatial_scale, sampling_ratio)

    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        return torchvision.ops.roi_align(x, boxes, self.output_size, *self.settings, aligned=True)


def roi_align(x: Tensor, boxes: Tensor, size: Any, scale: float, ratio: int, mode: str, aligned: bool) -> Tensor:
    assert mode == "avg"
    return torchvision.ops.roi_align(x, boxes, size, scale, ratio, aligned)


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, settings: Any) -> tuple[Tensor, Tensor]:
    """Group by group, the surest first."""
    kept = torch.zeros_like(groups, dtype=torch.bool)
    for group in groups.unique():
        own = (groups == group).nonzero()[:, 0]
        kept[own[torchvision.ops.nms(boxes[own], scores[own], settings["iou_threshold"])]] = True
    order = kept.nonzero()[:, 0]
    order = order[scores[order].argsort(descending=True, stable=True)]
    return torch.cat([boxes[order], scores[order, None]], 1), order


class StandIn(ModuleType):
    """A module in which every name is a class that nobody makes, but for the operators above."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return {"RoIAlign": RoIAlign, "roi_align": roi_align, "batched_nms": batched_nms}.get(name) or type(
            name, (nn.Module,), {}
        )


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        wanted = name.split(".")[:2] == ["mmcv", "ops"] or name.split(".")[0] == "imgaug"
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if wanted else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def their_heads(folder: Path, ours: Any) -> tuple[Any, Any, Any, Any]:
    """FPN, RPN, RoI heads and their configuration: the package's own, with the changes that Swin's had."""
    import mmdet.models  # noqa: F401  # registers what is built
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    if not DefaultScope.check_instance_created("parity"):
        DefaultScope.get_instance("parity", scope_name="mmdet")
    kind = ours.head_config.head
    file = {"mask-rcnn": "mask-rcnn_r50_fpn.py", "cascade": "cascade-mask-rcnn_r50_fpn.py"}[kind]
    config = Config.fromfile(folder / "mmdet" / ".mim" / "configs" / "_base_" / "models" / file).model
    config.neck.in_channels = [norm.normalized_shape[0] for norm in ours.norms]
    if kind == "cascade":
        config.roi_head.bbox_head = [
            {
                "type": "ConvFCBBoxHead",
                "num_shared_convs": 4,
                "num_shared_fcs": 1,
                "in_channels": 256,
                "conv_out_channels": 256,
                "fc_out_channels": 1024,
                "roi_feat_size": 7,
                "num_classes": CLASSES,
                "reg_class_agnostic": False,
                "reg_decoded_bbox": True,
                "norm_cfg": {"type": "BN"},
                "bbox_coder": head.bbox_coder,
                "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
                "loss_bbox": {"type": "GIoULoss", "loss_weight": 10.0},
            }
            for head in config.roi_head.bbox_head
        ]
    config.rpn_head.update(train_cfg=config.train_cfg.rpn, test_cfg=config.test_cfg.rpn)
    config.roi_head.update(train_cfg=config.train_cfg.rcnn, test_cfg=config.test_cfg.rcnn)
    return *(MODELS.build(part) for part in (config.neck, config.rpn_head, config.roi_head)), config


def give_weights(ours: Detector, **theirs: Any) -> None:
    """Ours to theirs, statistics of batch norms included."""
    names, state = head_names(ours.head_config), ours.state_dict()
    for part, model in theirs.items():
        model.load_state_dict(
            {name.removeprefix(f"{part}."): state[mine] for mine, name in names.items() if name.startswith(f"{part}.")}
        )


def sample_of(objects: Targets, *, classless: bool = False) -> Any:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    size = dict.fromkeys(("img_shape", "pad_shape", "batch_input_shape", "ori_shape"), SIZE)
    sample = DetDataSample(metainfo=dict(**size, scale_factor=(1.0, 1.0)))
    assert objects.masks is not None
    sample.gt_instances = InstanceData(
        bboxes=objects.boxes,
        labels=objects.labels * (not classless),
        masks=BitmapMasks(objects.masks.numpy().astype("uint8"), *SIZE),
    )
    none = torch.zeros(0, dtype=torch.int64)
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=none)
    return sample


# The comparison.


def some_objects(number: int, seed: int) -> Targets:
    """Ellipses of all sizes."""
    generator = torch.Generator().manual_seed(seed)
    whole, share = torch.tensor([SIZE[1], SIZE[0]]), torch.rand(number, 4, generator=generator)
    extent = 12 + share[:, 2:] ** 2 * (whole - 12)
    start = share[:, :2] * (whole - extent)
    y, x = torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5
    across, down = ((x - start[:, :1]) / extent[:, :1] - 0.5) ** 2, ((y - start[:, 1:]) / extent[:, 1:] - 0.5) ** 2
    labels = torch.randint(0, CLASSES, (number,), generator=generator)
    return Targets(torch.cat([start, start + extent], 1), labels, down[:, :, None] + across[:, None] <= 0.25)


def the_same_some(of: Tensor, number: int, generator: object = None) -> Tensor:
    """A choice that is a function of how many there are."""
    if len(of) <= number:
        return of
    return of[torch.randperm(len(of), generator=torch.Generator().manual_seed(len(of)))[:number].sort().values]


unstable_sort = torch.Tensor.sort


def stable_sort(self: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """Theirs leaves the order of equally sure proposals to chance, and with it which boxes are drawn."""
    return unstable_sort(self, dim=dim, descending=descending, stable=True)


def training(kind: Any, folder: Path) -> tuple[dict[str, tuple[float, float]], list[tuple[Detections, Any]]]:
    """(ours, theirs) of each loss; then, of the same weights, what both find in each picture."""
    torch.manual_seed(0)
    backbone = swin(*SWIN_SIZES["swin_tiny"], drop_path=0.0)
    ours: Any = Detector(SwinPyramid(backbone), CLASSES, HeadConfig(kind)).train()
    for part in (ours.rpn, *ours.roi_heads.box_heads):  # fresh ones decide nothing
        nn.init.normal_(part.classifier.weight, std=0.05)
        nn.init.normal_(part.regressor.weight, std=0.02)
    for part in ours.roi_heads.mask_heads:
        nn.init.normal_(part.classifier.weight, std=0.05)
    neck, rpn, roi, config = their_heads(folder, ours)
    give_weights(ours, neck=neck, rpn_head=rpn, roi_head=roi)
    state = deepcopy(ours.state_dict())
    images, objects = torch.randn(2, 3, *SIZE), [some_objects(7, 1), some_objects(3, 2)]
    samples, classless = [sample_of(o) for o in objects], [sample_of(o, classless=True) for o in objects]
    for part in (neck, rpn, roi):
        part.train()
    with torch.no_grad():
        maps = neck(tuple(ours.norms(ours.backbone.pyramid(images))))
        found, proposals = rpn.loss_and_predict(maps, classless, proposal_cfg=config.train_cfg.rpn_proposal)
        theirs = {"objectness": sum(found["loss_rpn_cls"]), "proposal": sum(found["loss_rpn_bbox"])}
        for name, value in roi.loss(maps, proposals, samples).items():
            stage, _, part = name.rpartition(".")
            if part.startswith("loss_"):
                named = {"loss_cls": "class", "loss_bbox": "box", "loss_mask": "mask"}[part]
                theirs[named + (str(int(stage[1:]) + 1) if stage else "")] = value
        losses = ours(images, objects)
        assert isinstance(losses, dict)
        assert losses.keys() == theirs.keys()
        ours.load_state_dict(state)
        give_weights(ours, neck=neck, rpn_head=rpn, roi_head=roi)
        for part in (ours, neck, rpn, roi):
            part.eval()
        told = roi.predict(maps, rpn.predict(maps, classless, rescale=False), samples, rescale=False)
        seen = ours(images)
    assert isinstance(seen, list)
    return {name: (losses[name].item(), theirs[name].item()) for name in losses}, list(zip(seen, told, strict=True))


def differences(pairs: list[tuple[Detections, Any]]) -> Iterator[str]:
    """Of detections beyond rounding, which may turn single pixels of masks."""
    for number, (ours, theirs) in enumerate(pairs, 1):
        if not torch.equal(ours.labels, theirs.labels):
            yield f"picture {number}: other detections"
            continue
        assert ours.masks is not None
        apart = max((ours.boxes - theirs.bboxes).abs().max().item(), (ours.scores - theirs.scores).abs().max().item())
        pixels = (paste(ours.masks, ours.boxes, SIZE) != theirs.masks).sum().item()
        if apart > CLOSE or pixels > TURNED * theirs.masks.sum():
            yield f"picture {number}: boxes and scores differ by up to {apart:.1e}, masks in {pixels} pixels"


def main(folder: Path) -> int:
    if not (folder / "mmdet").is_dir():
        command = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--target", str(folder), *PACKAGES]
        subprocess.run(command, check=True)
    sys.path.append(str(folder))
    sys.meta_path.insert(0, StandIns())
    from mmdet.models.task_modules.samplers import RandomSampler

    RandomSampler.random_choice = lambda self, gallery, number: the_same_some(gallery, number)
    matching._some = the_same_some
    torch.Tensor.sort = stable_sort  # type: ignore[assignment]
    failed = False
    print(f"| heads | part | ours | mmdetection | relative difference |\n|{'---|' * 5}")
    for kind in ("mask-rcnn", "cascade"):
        losses, pairs = training(kind, folder)
        for name, (ours, theirs) in losses.items():
            apart = abs(ours - theirs) / abs(theirs)
            failed |= apart > CLOSE
            print(f"| {kind} | {name} | {ours:.6f} | {theirs:.6f} | {apart:.1e} |")
        different, number = list(differences(pairs)), sum(len(ours.boxes) for ours, _ in pairs)
        failed |= bool(different)
        print(f"| {kind} | detections | {number} | {number} | {'; '.join(different) or 'none'} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        raise SystemExit(main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary)))
