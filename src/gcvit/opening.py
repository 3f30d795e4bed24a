"""From what a person calls a model to that model, ready for use, whatever its task and runtime."""

from pathlib import Path

from gcvit.export.opening import open_exported
from gcvit.tasks import open_checkpoint
from gcvit.tasks.opened import Opened
from gcvit.weights.fetching import find
from gcvit.weights.resolve import Source, resolve


def open(source: str | Path | Source, *, ema: bool = False, trust_code: bool = False) -> Opened:
    """Open a trained model.

    source: a run's folder (its best weights), a model's folder, a checkpoint file of any known format, a file that
        `gcvit export` wrote, a hub repository, or the name of published weights, which are fetched when needed.
    ema: of a training checkpoint that holds both, take the averaged weights.
    trust_code: run what lies in an exported file that holds code (.pt2), as only whoever trusts its maker should.

    Raises UserError when it cannot be opened, with what to do.
    """
    source = resolve(source)
    if source.kind == "exported file":
        return open_exported(source.name, trust_code=trust_code)
    return open_checkpoint(find(source, ema=ema))
