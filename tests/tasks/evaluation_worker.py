"""One of several processes that evaluate together; each writes down what it got. Run by test_classify_evaluate.py.

It prints nothing itself: what is on stdout is the command's.
"""

import sys
from pathlib import Path

import torch

from gcvit import distributed
from gcvit.cli import eval_classify
from gcvit.tasks.classify.evaluate import Evaluation
from gcvit.tasks.classify.evaluate_checkpoint import evaluate_checkpoint


def columns(result: Evaluation) -> dict:
    """All of the result but the time."""
    names = ("positions", "labels", "predicted", "confidence", "losses")
    tensors = {name: getattr(result, name) for name in names}
    return {**tensors, "counts": result.accuracy.counts, "unreadable": [list(item) for item in result.unreadable]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    source, data, out = sys.argv[1:]
    with distributed.process_group():
        # One image a batch: what a batch's other images add to rounding is not the question here.
        measured = evaluate_checkpoint(source, data, bad_images="skip", batch_size=1, device="cpu")
        single = evaluate_checkpoint(source, images=1, device="cpu")  # all ranks but the first have nothing to do
        found = [columns(result.result) for result in (measured, single)]
        torch.save(found, Path(out) / f"{distributed.rank()}.pt")
        flags = ["--bad-images", "skip", "--batch-size", "1", "--device", "cpu", "--json"]
        eval_classify.run([source, "--data", data, "--out", f"{out}/out", *flags])
