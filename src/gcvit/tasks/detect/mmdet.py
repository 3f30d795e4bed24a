"""Detectors in mmdetection's files: the name there of everything that ours learns, and its state with our names.

Both count the background last, and lay out anchors, deltas and masks in the same order: nothing is moved.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from gcvit.data.label_maps import default_palette
from gcvit.data.segment_folders import generic_names
from gcvit.errors import UserError
from gcvit.model import GCViT, GCViTConfig
from gcvit.model.config import MOST_CLASSES
from gcvit.tasks.backbone import backbone_of
from gcvit.tasks.detect.detector import Detector
from gcvit.tasks.detect.heads import MASK_CONVS
from gcvit.tasks.detect.pooler import STRIDES
from gcvit.tasks.detect.settings import HeadConfig, Kind
from gcvit.tasks.headed import description
from gcvit.tasks.task import Task
from gcvit.weights.architecture import read_off
from gcvit.weights.checks import check_dense, check_named, check_values
from gcvit.weights.names import DERIVED, State, table
from gcvit.weights.reading import Checkpoint
from gcvit.weights.unwrapping import bare
from gcvit.wording import composed, is_harmless, listed

MARK = "rpn_head.rpn_conv.weight"  # a name that only these files have
BACKBONE = "backbone."
LEARNED = ("weight", "bias")
BATCH_NORM = (*LEARNED, "running_mean", "running_var", "num_batches_tracked")
Layer = tuple[str, str, tuple[str, ...]]  # our name, theirs, and of what it has its tensors


def adopted(task: Task, checkpoint: Checkpoint) -> Checkpoint:
    """A detector's file of mmdetection as if we had written it, with its class names where it says them; anything else
    as it is. Raises UserError, naming it, for one that holds anything but a GC ViT's detector, whole and finite."""
    heads = {bare(name): x for name, x in checkpoint.beside.items() if isinstance(x, Tensor)}
    if checkpoint.task is not None or MARK not in heads:
        return checkpoint
    origin = checkpoint.origin
    state = heads | {f"{BACKBONE}{name}": x for name, x in checkpoint.state.items()}
    head, number = read_off_heads(state, origin)
    config = read_off(checkpoint, head=False)
    with torch.device("meta"):
        model = Detector(GCViT(config), number, head)
    found = from_mmdet(state, model, origin)
    names = _class_names(checkpoint.meta, number)
    content = description(task, config, head, names, default_palette(number), task.preprocessing())
    return Checkpoint(found, origin, content)


def _class_names(meta: object, number: int) -> list[str]:
    """Those that mmdetection 2 and 3 keep beside the weights; numbers where there are none that fit."""
    said = meta if isinstance(meta, Mapping) else {}
    inner = said.get("dataset_meta")
    places = [said, inner] if isinstance(inner, Mapping) else [said]
    for names in (place.get(key) for place in places for key in ("CLASSES", "classes")):
        if isinstance(names, list | tuple) and len(names) == number and all(map(is_harmless, names)):
            return list(map(composed, names))
    return generic_names(number)


def from_mmdet(state: Mapping[str, Tensor], model: Detector, origin: str) -> State:
    """The state of `model`, with our names, from one with mmdetection's; the tensors stay as they are.

    state: all of a detector ("backbone.…", "neck.…", "rpn_head.…", "roi_head.…"); tables that follow from the windows
        may be in it. model: of the same structure and windows, on the meta device if one likes; it is not changed.
    Raises UserError, naming `origin` and the tensors, for what is missing, left over, of another shape, no ordinary
    tensor, no floating-point number or not finite, and for a model with group norms, which differ from theirs.
    """
    if model.head_config.norm != "batch":
        raise UserError(f"{origin}: detectors in mmdetection's files have batch norms; set norm to batch")
    state = {name: tensor for name, tensor in state.items() if not name.endswith(DERIVED)}
    check_dense(state, origin)
    names, target = detector_names(model), model.state_dict()
    theirs = {name: target[mine] for mine, name in names.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in theirs.items()}
    check_named(shapes, state, f"{origin}: these weights are of another detector than this one")
    check_values(state, origin, theirs)
    return {mine: state[name] for mine, name in names.items()}


def read_off_heads(state: Mapping[str, Tensor], origin: str) -> tuple[HeadConfig, int]:
    """What the heads in mmdetection's file are made of, and how many classes they tell apart, by names and shapes.

    Make the model on the meta device: its weights are compared only in `from_mmdet`. Raises UserError, naming `origin`,
    where there are no such heads, for sizes that a head cannot have, and for what is no ordinary tensor.
    """
    check_dense(state, origin)
    cascade = any(name.startswith("roi_head.bbox_head.0.") for name in state)
    classifier = state.get(f"roi_head.bbox_head.{'0.' if cascade else ''}fc_cls.weight")
    conv = state.get(MARK)
    if classifier is None or classifier.ndim != 2 or conv is None or conv.ndim != 4:
        raise UserError(f"{origin}: no detector of mmdetection; its first names are {listed(state, 4)}")
    classes, masks = len(classifier) - 1, any(name.startswith("roi_head.mask_head.") for name in state)
    if not 1 <= classes <= MOST_CLASSES:
        raise UserError(f"{origin}: {classes:,} classes; a detector has 1 to {MOST_CLASSES:,}")
    try:
        kind: Kind = "cascade" if cascade else "mask-rcnn"
        return HeadConfig(kind, masks, channels=len(conv), hidden=classifier.shape[1]), classes
    except UserError as error:
        raise UserError(f"{origin}: {error}") from error


def detector_names(model: Detector) -> dict[str, str]:
    """Their name of each parameter and statistic of a detector, by ours."""
    return backbone_names(backbone_of(model).config) | head_names(model.head_config)


def backbone_names(config: GCViTConfig) -> dict[str, str]:
    """Those of the backbone, which has the names of the published classifiers."""
    return {f"{BACKBONE}{row.gcvit}": f"{BACKBONE}{row.nvlabs}" for row in table(config)}


def head_names(head: HeadConfig) -> dict[str, str]:
    """Those of everything else, for any backbone of four maps."""
    layers = [*_pyramid(), *_heads(head)]
    return {f"{ours}.{part}": f"{theirs}.{part}" for ours, theirs, parts in layers for part in parts}


def _pyramid() -> Iterator[Layer]:
    for level in range(len(STRIDES)):
        yield f"norms.{level}", f"{BACKBONE}norm{level}", LEARNED
        yield f"fpn.inner_blocks.{level}.0", f"neck.lateral_convs.{level}.conv", LEARNED
        yield f"fpn.layer_blocks.{level}.0", f"neck.fpn_convs.{level}.conv", LEARNED
    yield "rpn.conv", "rpn_head.rpn_conv", LEARNED
    yield "rpn.classifier", "rpn_head.rpn_cls", LEARNED
    yield "rpn.regressor", "rpn_head.rpn_reg", LEARNED


def _heads(head: HeadConfig) -> Iterator[Layer]:
    stages = len(head.form.stages)
    for number in range(stages):
        stage = f".{number}" if stages > 1 else ""
        ours, theirs = f"roi_heads.box_heads.{number}", f"roi_head.bbox_head{stage}"
        for layer in range(head.form.convs):
            yield f"{ours}.convs.{layer}.conv", f"{theirs}.shared_convs.{layer}.conv", ("weight",)
            yield f"{ours}.convs.{layer}.norm", f"{theirs}.shared_convs.{layer}.bn", BATCH_NORM
        for layer in range(head.form.linears):
            yield f"{ours}.linears.{layer}", f"{theirs}.shared_fcs.{layer}", LEARNED
        yield f"{ours}.classifier", f"{theirs}.fc_cls", LEARNED
        yield f"{ours}.regressor", f"{theirs}.fc_reg", LEARNED
        if head.masks:
            ours, theirs = f"roi_heads.mask_heads.{number}", f"roi_head.mask_head{stage}"
            for layer in range(MASK_CONVS):
                yield f"{ours}.convs.{layer}", f"{theirs}.convs.{layer}.conv", LEARNED
            yield f"{ours}.upsample", f"{theirs}.upsample", LEARNED
            yield f"{ours}.classifier", f"{theirs}.conv_logits", LEARNED
