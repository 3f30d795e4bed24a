"""What a person means by a checkpoint: also the folder of a run, whose best weights it stands for."""

from pathlib import Path

from gcvit.weights.reading import CONFIG_FILE


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
        raise ValueError(f"{source}: no epoch of this run was finished yet, so it has no best/ to use")
    runs = sorted(str(best.parent.parent) for best in folder.glob(f"*/best/{CONFIG_FILE}"))
    if runs:
        raise ValueError(f"{source} holds several runs; give one of them: {', '.join(runs[-6:])}")
    return source


def _run_above(folder: Path) -> Path | None:
    """The run that a folder is, or that its checkpoints lie in."""
    candidates = [folder, *folder.absolute().parents[:2]]
    return next((run for run in candidates if (run / "train.json").is_file()), None)
