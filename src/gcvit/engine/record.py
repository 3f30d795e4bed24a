"""What a checkpoint says of its run: enough to refuse going on with another one."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from gcvit.engine.config import as_dict, differences
from gcvit.engine.loop import Plan


def record_of(config: Any, names: Iterable[str], plan: Plan) -> dict[str, Any]:
    """The record of a run with this configuration whose training images have these names, in order.

    The last two parts of each name count, so that the data may lie elsewhere.
    """
    digest, images = hashlib.sha256(), 0
    for name in names:
        digest.update("/".join(Path(name).parts[-2:]).encode() + b"\n")
        images += 1
    return {
        "config": as_dict(config),
        "chunks": plan.share.passes * plan.share.ranks,
        "images": images,
        "names": digest.hexdigest(),
    }


def check_record(
    then: Mapping[str, Any], now: Mapping[str, Any], checkpoint: Path, *, free: Collection[str]
) -> list[str]:
    """What a person should know when a run goes on from a checkpoint with the record `then`.

    Raises ValueError when configuration or images differ in a way that would alter its course.
    """
    changes = differences(then["config"], now["config"], free=free)
    if then["images"] != now["images"]:
        changes.append(f"training images: {then['images']} → {now['images']}")
    elif then["names"] != now["names"]:
        changes.append("other names of the training images")
    if changes:
        raise ValueError(f"{checkpoint} is of another run: {'; '.join(changes)}; train into another folder")
    notes = []
    if then["chunks"] != now["chunks"]:
        notes.append(
            f"processes × passes: {then['chunks']} → {now['chunks']}. The order of the images stays; mixing and dropped"
            " paths will be others"
        )
    if changed := differences(then["versions"], now["versions"]):
        notes.append(f"other versions than before, so numbers may differ in their last digits: {'; '.join(changed)}")
    return notes
