"""Detectors whose speed is compared: our heads on our backbones, Swin and timm's, and torchvision's Mask R-CNN."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import maskrcnn_resnet50_fpn_v2

from gcvit.bench.contenders import SWIN, TORCHVISION
from gcvit.bench.headed import BOXES, COCO, IMG_SIZE, MASKS
from gcvit.bench.peers import backbone
from gcvit.model.config import Pair, Windows
from gcvit.model.gcvit import Images
from gcvit.tasks.detect.detector import Counted, Detector
from gcvit.tasks.detect.heads import BOX_CELLS, MASK_CELLS
from gcvit.tasks.detect.objects import Targets
from gcvit.tasks.detect.settings import HeadConfig, Kind

OBJECTS = 8  # of a picture in training; COCO has 7.3


class TorchvisionDetector(nn.Module):
    """torchvision's Mask R-CNN on a ResNet-50, called as ours are: of images as they are, without pasting masks."""

    def __init__(self, size: Pair, head: HeadConfig) -> None:
        super().__init__()
        sides: dict[str, Any] = {"min_size": min(size), "max_size": max(size), "_skip_resize": True}
        self.model = maskrcnn_resnet50_fpn_v2(
            weights=None,
            weights_backbone=None,
            num_classes=COCO + 1,
            trainable_backbone_layers=5,
            rpn_post_nms_top_n_test=head.proposals,
            box_detections_per_img=head.detections,
            box_batch_size_per_image=head.box_samples,
            **sides,
        )
        self.model.transform.postprocess = lambda found, *_: found

    def forward(self, images: Images, objects: Sequence[Targets] | None = None) -> Any:
        if objects is None:
            return self.model(list(images))
        named = [{"boxes": one.boxes, "labels": one.labels + 1, "masks": one.masks.byte()} for one in objects]  # type: ignore[union-attr]
        return self.model(list(images), named)


class CountedTorchvision(nn.Module):
    """`Counted` of torchvision's."""

    def __init__(self, model: nn.Module, boxes: int, masks: int) -> None:
        super().__init__()
        self.model: Any = model
        self.boxes, self.masks = boxes, masks

    def forward(self, images: Images) -> None:
        maps = list(self.model.backbone(images).values())
        self.model.rpn.head(maps)
        heads, channels = self.model.roi_heads, maps[0].shape[1]
        heads.box_predictor(heads.box_head(images.new_empty(self.boxes, channels, BOX_CELLS, BOX_CELLS)))
        heads.mask_predictor(heads.mask_head(images.new_empty(self.masks, channels, MASK_CELLS, MASK_CELLS)))


class Learning(nn.Module):
    """A detector in training: images to the sum of its losses, of the same objects each time."""

    def __init__(self, model: nn.Module, objects: Sequence[Targets]) -> None:
        super().__init__()
        self.model, self.objects = model, list(objects)

    def forward(self, images: Images) -> Tensor:
        return torch.stack(list(self.model(images, self.objects).values())).sum()


def build_detector(name: str, kind: Kind, size: Pair, windows: Windows | None, drop_path: float | None) -> nn.Module:
    """A detector for COCO's classes, in eval mode. name: as contenders are called. size: (height, width) in pixels.

    Nobody has trained it. So that it finds as many objects as a trained one looks into, 100, the classifiers' biases
    are drawn: some classes are likely in every box, most are not.
    """
    head = HeadConfig(kind)
    model: nn.Module
    if name == TORCHVISION:
        model = TorchvisionDetector(size, head)
        layers = [model.model.roi_heads.box_predictor.cls_score]
    else:
        model = Detector(backbone(SWIN.get(name, name), IMG_SIZE, windows, drop_path), COCO, head)
        layers = [box_head.classifier for box_head in model.roi_heads.box_heads]
    for layer in layers:
        with torch.no_grad():
            layer.bias.copy_(2 * torch.randn(COCO + 1, generator=torch.Generator().manual_seed(0)))
    return model.eval()


def counted(model: nn.Module) -> nn.Module:
    """What is computed of one image, for counting: of a detector with so many boxes and masks; any other as it is."""
    if isinstance(model, TorchvisionDetector):
        return CountedTorchvision(model.model, BOXES, MASKS)
    return Counted(model, BOXES, MASKS) if isinstance(model, Detector) else model


def objects(pictures: int, size: Pair, device: torch.device) -> list[Targets]:
    """Boxes of many sizes, and half their pixels, in each of so many pictures of `size` (height, width)."""
    generator = torch.Generator().manual_seed(2)
    found = []
    for number in range(pictures):
        extent = 0.05 + 0.5 * torch.rand(OBJECTS, 2, generator=generator)
        start = torch.rand(OBJECTS, 2, generator=generator) * (1 - extent)
        boxes = torch.cat([start, start + extent], 1) * torch.tensor([size[1], size[0]] * 2)
        y, x = (torch.arange(side) + 0.5 for side in size)
        left, top, right, below = (edge[:, None] for edge in boxes.unbind(1))
        rows, columns = (y >= top) & (y < below), (x >= left) & (x < (left + right) / 2)
        labels = torch.randint(COCO, (OBJECTS,), generator=generator)
        masks = rows[:, :, None] & columns[:, None]
        found.append(Targets(boxes.to(device), labels.to(device), masks.to(device), number))
    return found
