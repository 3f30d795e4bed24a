"""One of several processes that evaluate together; each writes down what it got. Run by test_segment_evaluate.py."""

import sys
from pathlib import Path

import torch

from gcvit import distributed
from gcvit.tasks.segment.evaluate import Evaluation, Evaluator
from tasks.scenes import AS_THEY_ARE, SIZES, Scenes, model


def plain(result: Evaluation) -> dict:
    """All of the result but the time."""
    return {
        "confusion": result.counts.confusion,
        "boundary": result.counts.boundary,
        "images": [tuple(image) for image in result.images],
        "shown": dict(sorted(result.shown.items())),
        "unreadable": [tuple(item) for item in result.unreadable],
        "metrics": result.metrics,
    }


def evaluated(sizes: list) -> dict:
    """With an unreadable scene in the middle."""
    evaluator = Evaluator(Scenes(sizes), AS_THEY_ARE, batch_size=1, bad_images="skip")
    return plain(evaluator(model(), device=torch.device("cpu")))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.process_group():
        # All ranks but the first have nothing to do with a single scene.
        found = [evaluated([*SIZES, None, (50, 50)]), evaluated(SIZES[:1])]
        torch.save(found, Path(sys.argv[1]) / f"{distributed.rank()}.pt")
