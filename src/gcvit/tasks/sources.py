"""What a person means by a checkpoint: also the folder of a run, whose best weights it stands for."""

from pathlib import Path

from gcvit.factory import read_off
from gcvit.model import GCViTConfig
from gcvit.model.variants import nearest_variant
from gcvit.weights.hub import model_config
from gcvit.weights.reading import CONFIG_FILE, Checkpoint


def checkpoint_path(source: str) -> str:
    """`source` itself, or RUN/best when it is the folder of a run.

    Raises ValueError, naming what to give instead, for a run without a finished epoch, a folder of runs, and the
    checkpoints that training goes on from, which hold no architecture.
    """
    folder = Path(source)
    if not folder.is_dir() or (folder / CONFIG_FILE).is_file():
        return source
    if (folder / "best" / CONFIG_FILE).is_file():
        return str(folder / "best")
    run = _run_above(folder)
    if run is not None:
        kept = [str(run / name) for name in ("best", "last") if (run / name / CONFIG_FILE).is_file()]
        if kept:
            raise ValueError(
                f"{source} is for training to go on from and does not say what model it is; give {' or '.join(kept)}"
            )
        raise ValueError(f"{source}: nothing of this run was evaluated yet, so it has no best/ to use")
    runs = sorted(str(best.parent.parent) for best in folder.glob(f"*/best/{CONFIG_FILE}"))
    if runs:
        raise ValueError(f"{source} holds several runs; give one of them: {', '.join(runs[-6:])}")
    return source


def _run_above(folder: Path) -> Path | None:
    """The run that a folder is, or that its checkpoints lie in."""
    candidates = [folder, *folder.absolute().parents[:2]]
    return next((run for run in candidates if (run / "train.json").is_file()), None)


def check_model(name: str, ours: GCViTConfig, checkpoint: Checkpoint, advice: str = "") -> None:
    """Raise ValueError for the weights of another variant than ours, which is called `name`: it names theirs and says
    to take it, with `advice` to follow. Weights that do not say what they are, are left to `load_weights`."""
    if checkpoint.hub_config is not None:
        theirs = model_config(checkpoint.hub_config, checkpoint.origin)
    else:
        try:
            theirs = read_off(checkpoint)
        except ValueError:
            return
    if _structure(theirs) != _structure(ours):
        variant = nearest_variant(theirs)[0]
        raise ValueError(
            f"{checkpoint.origin} holds the weights of {variant}, but model is {name}; set model to {variant}{advice}"
        )


def _structure(config: GCViTConfig) -> tuple[object, ...]:
    return config.dim, config.depths, config.heads, config.mlp_ratio, config.layer_scale is None
