"""One of several processes that evaluate together; each writes down what it got.

It prints nothing itself: what is on stdout is the command's.
"""

import pickle
from pathlib import Path
from typing import Any

import torch

from gcvit import distributed
from gcvit.cli import evaluate as command
from gcvit.tasks.classify.evaluation import ClassifyEvaluation
from gcvit.tasks.evaluation import Evaluation
from gcvit.tasks.segment.evaluation import SegmentEvaluation
from tasks import photos, scenes

SIZES = scenes.SIZES


def counted(result: Evaluation) -> dict[str, torch.Tensor]:
    """Every number as it was counted, picture by picture or pixel by pixel."""
    if isinstance(result, ClassifyEvaluation):
        names = ("positions", "labels", "predicted", "confidence", "losses")
        return {name: getattr(result, name) for name in names} | {"counts": result.accuracy.counts}
    assert isinstance(result, SegmentEvaluation)
    return {"confusion": result.counts.confusion, "boundary": result.counts.boundary}


def plain(result: Evaluation) -> dict[str, Any]:
    """All of the result but the time."""
    shown = {at: [part.tolist() for part in maps] for at, maps in sorted(getattr(result, "shown", {}).items())}
    tables = {name: table.rows for name, table in result.tables().items()}
    exact = {name: tensor.tolist() for name, tensor in counted(result).items()}
    told = {"metrics": result.metrics, "tables": tables, "shown": shown, "not": result.unreadable}
    return {**result.to_dict(), **told, "exact": exact}


def evaluated(task: str, sizes: list) -> dict[str, Any]:
    """One picture a batch: what a batch's other pictures add to rounding is not the question here."""
    kind: Any = {"classify": (photos.Photos, photos.evaluate), "segment": (scenes.Scenes, scenes.evaluate)}[task]
    pictures, evaluate = kind
    return plain(evaluate(pictures(sizes), batch_size=1, bad_images="skip"))


def everything(task: str) -> list[dict[str, Any]]:
    """With an unreadable picture in the middle; and with one picture, where all ranks but the first have nothing to
    do."""
    return [evaluated(task, [*SIZES, None, (50, 50)]), evaluated(task, SIZES[:1])]


def run(task: str, source: str, data: str, out: str) -> None:
    with distributed.process_group():
        Path(out, f"{distributed.rank()}.pickle").write_bytes(pickle.dumps(everything(task)))
        flags = ["--bad-images", "skip", "--batch-size", "1", "--device", "cpu", "--json"]
        command.run([source, "--data", data, "--out", f"{out}/out", *flags])
