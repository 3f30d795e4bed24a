"""What runs of ours have reached, by the model or the ablation that they trained."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open

from gcvit.errors import UserError
from gcvit.meta import BEST
from gcvit.tasks import task_named
from gcvit.tasks.runs import run_of
from gcvit.weights.reading import read_hub_config
from gcvit.weights.resolve import WEIGHTS_FILE

# The column of the paper's tables in which a task's score stands.
COLUMNS = {"classify": "top-1", "segment": "mIoU", "detect": "AP box"}


def measured_in(folders: Sequence[Path]) -> tuple[dict[tuple[str, str], str], list[str]]:
    """The best scores of runs, in per cent, by (model or ablation, column), several of one with " / " between them; and
    what each was trained on. Raises UserError for a folder that is no finished run."""
    found: dict[tuple[str, str], str] = {}
    remarks = []
    for folder in folders:
        best = folder / BEST
        if not (best / WEIGHTS_FILE).is_file():
            raise UserError(f"{folder}: no run with weights in {best}; give the folder that gcvit train names")
        task = task_named(read_hub_config(best).get("task", "classify"))
        record = run_of(folder, task)
        if record is None or task.name not in COLUMNS:
            raise UserError(f"{folder}: not a run whose score stands in the paper's tables")
        with safe_open(best / WEIGHTS_FILE, "np") as weights:
            metrics = json.loads((weights.metadata() or {}).get("metrics", "{}"))
        if metrics.get(task.score) is None:
            raise UserError(f"{folder}: its best weights do not say what {task.score} they reach")
        config, column = record.config, COLUMNS[task.name]
        key = (config.ablation or config.model, column)
        value = f"{100 * metrics[task.score]:.1f}"
        found[key] = f"{found[key]} / {value}" if key in found else value
        data = "built-in images" if config.data is None else Path(config.data).name
        remarks.append(
            f"ours: {value} {column}, {config.model}{f', {config.ablation}' if config.ablation else ''}, {data}"
        )
    return found, remarks
