"""What a checkpoint says of its run: enough to refuse going on with another one."""

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from gcvit.engine.config import as_dict, differences, flat
from gcvit.engine.former import completed
from gcvit.engine.loop import Plan
from gcvit.errors import UserError


def record_of(config: Any, names: Iterable[str], plan: Plan) -> dict[str, Any]:
    """The record of a run with this configuration whose training images have these names, in order."""
    names = list(names)
    return {
        **settings_of(config),
        "chunks": plan.share.passes * plan.share.ranks,
        "images": len(names),
        "names": names_digest(names),
    }


def names_digest(names: Iterable[str]) -> str:
    """A digest of images' names, in order; the last two parts of each count, so that the data may have moved."""
    digest = hashlib.sha256()
    for name in names:
        digest.update("/".join(Path(name).parts[-2:]).encode(errors="surrogatepass") + b"\n")
    return digest.hexdigest()


def settings_of(config: Any) -> dict[str, Any]:
    """The part of a record that the configuration alone tells: its settings, and where those that name a place lead."""
    settings = as_dict(config)
    return {"config": settings, "places": {key: _place(settings, key) for key in config.places}}


def changes(
    then: Mapping[str, Any], now: Mapping[str, Any], *, free: Collection[str], moved: bool = False
) -> list[str]:
    """Where two records differ in a way that would alter the course of the run: "data: photos → /scratch/photos".

    then: may be a configuration alone, {"config": …}. moved: what has a place may lie elsewhere.
    """
    places = now.get("places", {})
    before, after = completed(then["config"]), completed(now["config"])
    found = differences(before, after, free={*free, *places}) + ([] if moved else _moves(then, now))
    if "images" not in then or "images" not in now:
        return found
    if then["images"] != now["images"]:
        found.append(f"training images: {then['images']} → {now['images']}")
    elif then["names"] != now["names"]:
        found.append("other names of the training images")
    return found


def _moves(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    before, after = dict(flat(then["config"])), dict(flat(now["config"]))
    return [
        f"{key}: {before.get(key)} → {after.get(key)}"
        for key, place in now.get("places", {}).items()
        if not _same(then["places"].get(key) if "places" in then else _place(then["config"], key), place)
    ]


def _place(settings: Mapping[str, Any], key: str) -> Any:
    """Where a setting leads from here."""
    place = dict(flat(settings)).get(key)
    return os.path.abspath(place) if isinstance(place, str) else place


def _same(one: object, other: object) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one == other or os.path.realpath(one) == os.path.realpath(other)
    return one == other


def check_record(
    then: Mapping[str, Any], now: Mapping[str, Any], checkpoint: Path, *, free: Collection[str], moved: bool = False
) -> list[str]:
    """What a person should know when a run goes on from a checkpoint with the record `then`.

    Raises UserError when configuration or images differ in a way that would alter its course; moved: the data may lie
    elsewhere.
    """
    if found := changes(then, now, free=free, moved=moved):
        raise UserError(f"{checkpoint} is of another run: {'; '.join(found)}; train into another folder")
    notes = [f"the data have moved: {move}" for move in _moves(then, now)]
    if then["chunks"] != now["chunks"]:
        notes.append(
            f"processes × passes: {then['chunks']} → {now['chunks']}. The order of the images stays; mixing and dropped"
            " paths will be others"
        )
    if changed := differences(then["versions"], now["versions"]):
        notes.append(f"other versions than before, so numbers may differ in their last digits: {'; '.join(changed)}")
    return notes
