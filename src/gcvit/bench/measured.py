"""What runs of ours have reached, and whose rows of the paper's tables they are runs of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import safe_open

from gcvit.bench.published import APS, TABLE_S3
from gcvit.errors import UserError
from gcvit.factory import variant
from gcvit.meta import BEST
from gcvit.model import GCViTConfig
from gcvit.tasks import task_named
from gcvit.tasks.ablations import ablation
from gcvit.tasks.backbone import structure
from gcvit.tasks.config import RunConfig
from gcvit.tasks.runs import run_of
from gcvit.weights.hub import model_config, object_in
from gcvit.weights.reading import read_hub_config
from gcvit.weights.resolve import WEIGHTS_FILE
from gcvit.wording import by

# The columns of the paper's tables in which a task's metrics stand, its score first.
COLUMNS = {
    "classify": {"top-1": "top1"},
    "segment": {"mIoU": "miou"},
    "detect": dict(zip(APS, ("box_ap", "box_ap50", "box_ap75", "mask_ap", "mask_ap50", "mask_ap75"), strict=True)),
}


@dataclass(frozen=True)
class Reached:
    """What a run has reached. rows: the models, ablations and recipes of the tables that it is a run of; none where its
    architecture is none's. heads: a detector's, else "". scores: its best weights' by column, its task's first, in per
    cent. trained: what was trained on what, in words."""

    folder: Path
    rows: tuple[str, ...]
    heads: str
    scores: Mapping[str, float] = field(hash=False)
    trained: str

    def __str__(self) -> str:
        scores = ", ".join(f"{score:.1f} {column}" for column, score in self.scores.items())
        return f"{scores}: {self.folder}, {self.trained}"


def measured_in(folders: Sequence[Path]) -> list[Reached]:
    """The best scores of runs. Raises UserError for a folder that is no finished run."""
    return [_reached(folder) for folder in dict.fromkeys(folders)]


def _reached(folder: Path) -> Reached:
    best = folder / BEST
    if not (best / WEIGHTS_FILE).is_file():
        raise UserError(f"{folder}: no run with weights in {best}; give the folder that gcvit train names")
    hub = read_hub_config(best)
    task = task_named(hub.get("task", "classify"))
    record = run_of(folder, task)
    if record is None or task.name not in COLUMNS:
        raise UserError(f"{folder}: not a run whose score stands in the paper's tables")
    with safe_open(best / WEIGHTS_FILE, "np") as weights:
        metrics = json.loads((weights.metadata() or {}).get("metrics", "{}"))
    if metrics.get(task.score) is None:
        raise UserError(f"{folder}: its best weights do not say what {task.score} they reach")
    config, origin = record.config, str(best)
    model = model_config(object_in(hub, "backbone", origin, hub), origin)
    heads = str(config.head.head) if task.name == "detect" else ""  # type: ignore[attr-defined]
    windows = "" if config.windows is None else f"windows of {', '.join(map(str, config.windows))}"
    data = "built-in images" if config.data is None else Path(config.data).name
    parts = (config.model, config.ablation, heads, f"{by(model.img_size)} px", windows, data)
    rows = rows_of(config, model)
    known = {column: metrics.get(name) for column, name in COLUMNS[task.name].items()}
    scores = {column: 100 * value for column, value in known.items() if value is not None}
    return Reached(folder, rows, heads, scores, ", ".join(filter(None, parts)))


def rows_of(config: RunConfig, model: GCViTConfig) -> tuple[str, ...]:
    """The rows that a run with this configuration, which made this model, is a run of."""
    name = config.ablation or config.model
    if structure(model) != structure(ablation(name).config() if config.ablation else variant(name)):
        return ()
    of = name, config.batch_size, config.optim.ema_decay is not None
    return (name, *(recipe for _, batch, ema, _, recipe in TABLE_S3 if of == ("gcvit_tiny", batch, ema)))
