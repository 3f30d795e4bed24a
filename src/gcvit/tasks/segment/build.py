"""The segmentation model that a run starts from."""

from dataclasses import asdict, replace

from torch import Tensor, nn

from gcvit import distributed
from gcvit.data.sampling import Share
from gcvit.engine.device import resolve_device
from gcvit.engine.optim import Layers
from gcvit.factory import create_model
from gcvit.tasks.layers import layers as backbone_layers
from gcvit.tasks.segment.config import SegmentConfig, UPerNetConfig
from gcvit.tasks.segment.saving import classes_of, described, head_of, is_segmenter
from gcvit.tasks.segment.segmenter import Segmenter
from gcvit.tasks.sources import check_model, checkpoint_path
from gcvit.weights.loading import find, load_weights
from gcvit.weights.reading import Checkpoint, State

BACKBONE = "backbone."
AUXILIARY = "auxiliary_head."
CLASSIFIERS = ("decode_head.classifier.", "auxiliary_head.classifier.")
SMALL_BATCH = 8  # images; with fewer, group norm beats batch norm (Wu and He, 2018)


def build_segmenter(config: SegmentConfig, classes: list[str]) -> tuple[Segmenter, list[str]]:
    """The model of a run, and what a person should know about it.

    A classifier's checkpoint gives its backbone; a segmentation model's all its weights, where the rows of its
    classifiers go by the names of the classes, and classes that it does not know start fresh. Batch norm goes over
    all GPUs together. Raises ValueError for weights of another model, and for batch norm with one image at a time.
    """
    backbone = create_model(
        config.model,
        img_size=config.img_size or config.augment.crop,
        windows=config.windows,
        head=False,
        drop_path=config.drop_path,
    )
    model, notes = Segmenter(backbone, len(classes), config.head), []
    source = _source(config)
    if source is not None:
        checkpoint = find(source)
        notes += _load(model, config, classes, checkpoint)
    if config.head.norm == "batch":
        model, said = _synchronised(model, config)
        notes += said
    return model, notes


def layers(model: Segmenter) -> Layers:
    """The backbone by depth, for layer-wise learning rates; norms and heads lie on top."""
    return backbone_layers(model.backbone)


def _source(config: SegmentConfig) -> str | None:
    """What to start from, if anything."""
    if config.pretrained or config.weights is None:
        return config.model if config.pretrained else None
    return checkpoint_path(config.weights)


def _load(model: Segmenter, config: SegmentConfig, classes: list[str], checkpoint: Checkpoint) -> list[str]:
    """Load a checkpoint, of either kind, and say what became of it."""
    if not is_segmenter(checkpoint):
        check_model(config.model, model.backbone.config, checkpoint)
        report = load_weights(model.backbone, checkpoint)
        return [str(report), "only the backbone starts from these weights; the heads are fresh"]
    state = {name.removeprefix(BACKBONE): x for name, x in checkpoint.state.items() if name.startswith(BACKBONE)}
    backbone = Checkpoint(state, checkpoint.origin, described(checkpoint, "backbone"))
    check_model(config.model, model.backbone.config, backbone)
    _check_head(config.head, checkpoint)
    heads, notes = _heads_for(model, classes, checkpoint)
    report = load_weights(model.backbone, backbone)
    model.load_state_dict(model.state_dict() | heads)
    return [str(report), *notes]


def _check_head(ours: UPerNetConfig, checkpoint: Checkpoint) -> None:
    """Refuse heads of another structure; what only matters in training may differ."""
    theirs = head_of(checkpoint)
    same = replace(theirs, dropout=ours.dropout, aux_weight=ours.aux_weight)
    if not (ours.aux_weight and theirs.aux_weight):
        same = replace(same, aux_channels=ours.aux_channels)
    if same != ours:
        expected = asdict(ours)
        apart = {key: value for key, value in asdict(same).items() if value != expected[key]}
        flags = " ".join(f"--{key.replace('_', '-')} {_spelled(value)}" for key, value in apart.items())
        raise ValueError(f"{checkpoint.origin} has heads of another kind; to train it give {flags}")


def _spelled(value: object) -> str:
    """As flags have it."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _heads_for(model: Segmenter, classes: list[str], checkpoint: Checkpoint) -> tuple[State, list[str]]:
    """The state of norms and heads from a segmentation model, its classifiers' rows in the order of `classes`."""
    target = {name: x for name, x in model.state_dict().items() if not name.startswith(BACKBONE)}
    found = {name: x for name, x in checkpoint.state.items() if not name.startswith(BACKBONE)}
    notes = []
    for ours, theirs, what in ((target, found, "is fresh"), (found, target, "is not used")):
        names = [name for name in ours if name.startswith(AUXILIARY)]
        if names and not any(name.startswith(AUXILIARY) for name in theirs):
            for name in names:
                del ours[name]
            notes.append(f"the auxiliary head {what}")
    names = classes_of(checkpoint)
    rows = {names.index(name): classes.index(name) for name in names if names.count(name) == classes.count(name) == 1}
    for name in found:
        if name.startswith(CLASSIFIERS) and name in target:
            found[name] = _with_rows(target[name], found[name], rows, len(names), checkpoint.origin)
    if missing := sorted(target.keys() ^ found.keys()):
        raise ValueError(
            f"{checkpoint.origin}: weights of the heads are missing or left over: {', '.join(missing[:8])}"
        )
    if wrong := [name for name in target if target[name].shape != found[name].shape]:
        raise ValueError(f"{checkpoint.origin}: weights of another shape than their model's: {', '.join(wrong[:8])}")
    return found, [*notes, _classes_note(classes, [classes[row] for row in rows.values()], len(names))]


def _with_rows(ours: Tensor, theirs: Tensor, rows: dict[int, int], count: int, origin: str) -> Tensor:
    """`ours` with the rows of `theirs` that have a class of the same name, by the rows' numbers there and here."""
    if len(theirs) != count or theirs.shape[1:] != ours.shape[1:]:
        raise ValueError(f"{origin}: a classifier of shape {tuple(theirs.shape)} does not fit its {count} classes")
    result = ours.clone()
    for there, here in rows.items():
        result[here] = theirs[there]
    return result


def _classes_note(classes: list[str], known: list[str], count: int) -> str:
    if len(known) == len(classes):
        return (
            f"the classifier's rows are those of the {len(classes)} classes of these names, of {count} in the weights"
        )
    fresh = [name for name in classes if name not in known]
    listed = ", ".join(fresh[:10]) + (f" and {len(fresh) - 10} more" if len(fresh) > 10 else "")
    return (
        f"FRESH rows in the classifier for {len(fresh)} of {len(classes)} classes, whose names are not among the "
        f"{count} in the weights: {listed}"
    )


def _synchronised(model: Segmenter, config: SegmentConfig) -> tuple[Segmenter, list[str]]:
    """Batch norm over the GPUs together, and a warning where it sees few images.

    On the CPU torch has no such layer: there each process goes by its own images.
    """
    processes = distributed.world_size()
    together = processes > 1 and resolve_device(config.device).type == "cuda"
    if together:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    images = Share(config.batch_size, config.accumulate, ranks=processes).micro_batch * (processes if together else 1)
    other = "--norm group normalises each image by itself"
    if images == 1:
        raise ValueError(
            f"batch norm needs at least 2 images at once, but batch_size {config.batch_size} over {processes} processes"
            f" × {config.accumulate} passes (accumulate) gives it 1; {other}"
        )
    if images >= SMALL_BATCH:
        return model, []
    return model, [
        f"batch norm takes its means and variances from {images} images at once (the map pooled to one cell: from "
        f"{images} numbers), which is noisy below {SMALL_BATCH}; {other}"
    ]
