"""What model a checkpoint holds: what its config.json says, compared with the shapes of its weights, or these alone."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from gcvit.errors import UserError, naming
from gcvit.model.attention import table_window
from gcvit.model.config import SMALLEST_SIDE, STAGES, GCViTConfig, Pair
from gcvit.model.variants import VARIANTS
from gcvit.weights.checks import check_described, check_named
from gcvit.weights.hub import model_config, states_windows
from gcvit.weights.names import MAP_NORMS, TABLE, classes_in, shapes_of
from gcvit.weights.reading import Checkpoint


def configuration(checkpoint: Checkpoint) -> GCViTConfig:
    """What model a checkpoint holds, by its config.json or its shapes alone; no values are read, nothing is built.

    Raises UserError when it is no GC ViT, and when config.json and the shapes of the weights disagree.
    """
    if checkpoint.hub_config is None:
        return read_off(checkpoint)
    config, origin = model_config(checkpoint.hub_config, checkpoint.origin), checkpoint.origin
    state = checkpoint.gcvit.state
    if config.head and (found := classes_in(state)) != config.num_classes:
        raise UserError(f"{origin}: {found} classes in the weights, but {config.num_classes} in its config.json")
    if not states_windows(checkpoint.hub_config) and (windows := _square_windows(state)):
        config = config if config.stage_windows == windows else _checked(config, origin, windows=windows)
    check_described(shapes_of(config), state, origin)
    return config


def read_off(checkpoint: Checkpoint, *, head: bool = True) -> GCViTConfig:
    """The configuration of a bare state dict, from its names and shapes. head: whether it is a classifier's, or a
    backbone's, with norms of its maps or without. Raises UserError when no variant fits."""
    origin, state = checkpoint.origin, checkpoint.gcvit.state
    if not head:
        state = {name: tensor for name, tensor in state.items() if name not in MAP_NORMS}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    windows, stem = _square_windows(state), shapes["stem.conv.weight"]
    for row in (replace(row, head=head) for row in VARIANTS.values()):
        if len(stem) != 4 or stem[0] != row.dim or shapes.keys() != shapes_of(row).keys():
            continue
        config = _checked(row, origin, num_classes=classes_in(state), in_chans=stem[1])
        expected = shapes_of(config)
        if any(shapes[name] != expected[name] for name in shapes if not name.endswith(TABLE)):
            continue
        if windows is None:
            raise UserError(
                f"{origin}: its windows are not square, and a bare file does not say what they are; "
                f"build the model with create_model(img_size=…) and use load_weights"
            )
        side = SMALLEST_SIDE * windows[-1][0]
        published, square = config, _checked(config, origin, img_size=(side, side))
        fitting = (sized for sized in (published, square) if sized.stage_windows == windows)
        config = next(fitting, None) or _checked(square, origin, windows=windows)
        check_named(shapes_of(config), state, f"{origin}: a GC ViT whose blocks have different windows")
        return config
    raise UserError(f"{origin}: a GC ViT, but of none of the sizes we know; use load_weights on a model of its size")


def _checked(config: GCViTConfig, origin: str, **changes: Any) -> GCViTConfig:
    """The configuration with changes. Raises UserError, naming the origin, for what cannot be."""
    with naming(origin):
        return replace(config, **changes)


def _square_windows(state: Mapping[str, Tensor]) -> tuple[Pair, ...] | None:
    """The windows that the bias tables of a state with our names belong to, if all are square."""
    tables = [state.get(f"stages.{stage}.blocks.0{TABLE}") for stage in range(STAGES)]
    windows = [None if rows is None or rows.ndim != 2 else table_window(len(rows)) for rows in tables]
    return None if None in windows else tuple(window for window in windows if window is not None)
