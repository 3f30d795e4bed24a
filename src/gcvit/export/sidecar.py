"""The JSON beside an exported file: what its images need, what its outputs mean, and by which hash to know it again."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from gcvit.data.label_maps import is_colour
from gcvit.data.pixels import RGB
from gcvit.errors import UserError
from gcvit.export.formats import BACKBONE, SUFFIXES, Format
from gcvit.files import read_json, sha256_of, write_atomically
from gcvit.model.config import LARGEST_SIDE, MOST_IN_CHANS, Pair, is_count
from gcvit.tasks import TASKS
from gcvit.wording import composed, is_harmless, listed

AGAIN = "export the model again"


@dataclass(frozen=True)
class Sidecar:
    """What is known of an exported file.

    task: its name; "backbone" for one that gives four maps.
    name: the variant. size: (height, width) of the images in pixels. int8: whether it was quantised.
    in_chans: the images' channels. classes: names in the order of the logits, if known. palette: their colours, of
    segmentation models. preprocessing: how pictures become images, the task's own dataclass as JSON.
    files: SHA-256 of each of its files, by their names. software: versions that it was made with. source: the
    checkpoint. settings: what whoever runs the file must know of the model, the task's own. checked: what was found
    when it was compared with the model.

    Raises UserError for values that cannot be, and for texts that a terminal would obey.
    """

    format: Format
    task: str
    name: str
    size: Pair
    int8: bool
    in_chans: int
    classes: list[str] | None
    palette: list[RGB] | None
    preprocessing: dict[str, Any]
    settings: dict[str, Any]
    files: dict[str, str]
    software: dict[str, str]
    source: str
    checked: dict[str, Any]

    def __post_init__(self) -> None:
        for key, (fits, expected) in _EXPECTED.items():
            if not fits(value := getattr(self, key)):
                raise UserError(f"{key} should be {expected}, not {value!r:.80}")


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of an exported file lies: FILE.json."""
    return path.with_name(path.name + ".json")


def parts(path: Path, to: Format) -> list[Path]:
    """The files that an export consists of; the one that is opened last."""
    return [path.with_suffix(".bin"), path] if to == "openvino" else [path]


def hashes(path: Path, to: Format) -> dict[str, str]:
    """SHA-256 of an export's files, by their names."""
    return {part.name: sha256_of(part) for part in parts(path, to)}


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Write the sidecar of the exported file `path`, in one step."""
    content = json.dumps(asdict(sidecar), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(sidecar_path(path), (content + "\n").encode())


def read_sidecar(path: Path) -> Sidecar:
    """The sidecar of the exported file `path`, which is what it was when it was exported.

    Raises UserError, saying what to do, when the file, its .bin or its sidecar is missing, for unknown and missing
    keys, for values that cannot be, and for a file that was changed or renamed since.
    """
    beside = sidecar_path(path)
    for file in (path, beside):
        if not file.is_file():
            raise UserError(f"{file}: there is no such file; an exported file and its .json belong together")
    values = _values(beside)
    try:
        sidecar = Sidecar(**values)
    except UserError as error:
        raise UserError(f"{beside}: {error}; {AGAIN}") from error
    _verify(path, sidecar)
    height, width = sidecar.size
    palette = sidecar.palette and [(red, green, blue) for red, green, blue in sidecar.palette]
    classes = sidecar.classes and list(map(composed, sidecar.classes))
    return replace(sidecar, size=(height, width), palette=palette, classes=classes)


def _values(beside: Path) -> dict[str, Any]:
    try:
        values = read_json(beside)
    except UserError as error:
        raise UserError(f"{error}; {AGAIN}") from error
    known = [field.name for field in fields(Sidecar)]
    unknown, missing = [key for key in values if key not in known], [key for key in known if key not in values]
    if unknown or missing:
        lists = [("unknown", unknown), ("missing", missing)]
        wrong = "; ".join(f"{what} keys: {listed(keys)}" for what, keys in lists if keys)
        raise UserError(f"{beside}: {wrong}; {AGAIN} with this version of gcvit")
    return values


def _verify(path: Path, sidecar: Sidecar) -> None:
    expected = {part.name for part in parts(path, sidecar.format)}
    if set(sidecar.files) != expected or not path.name.endswith(SUFFIXES[sidecar.format]):
        names = " and ".join(sorted(sidecar.files))
        raise UserError(f"{path}: its sidecar is that of {names}; give the files their names back, or {AGAIN}")
    for part in parts(path, sidecar.format):
        if not part.is_file():
            raise UserError(f"{part}: there is no such file, and {path.name} holds no weights without it; {AGAIN}")
        if sha256_of(part) != sidecar.files[part.name]:
            raise UserError(
                f"{part} is not what was exported: its SHA-256 is not the one in {sidecar_path(path).name}. "
                f"{AGAIN.capitalize()}, or copy both once more from where they came from"
            )


def _is_list(value: object, fits: Callable[[object], bool], length: int | None = None) -> bool:
    return isinstance(value, list | tuple) and length in (None, len(value)) and all(map(fits, value))


def _are_texts(value: object) -> bool:
    return isinstance(value, dict) and all(map(is_harmless, [*value, *value.values()]))


_EXPECTED: dict[str, tuple[Callable[[object], bool], str]] = {
    "format": (lambda value: value in get_args(Format), f"one of {', '.join(get_args(Format))}"),
    "task": (lambda value: value in (BACKBONE, *(task.name for task in TASKS)), "the name of a task"),
    "name": (is_harmless, "a text"),
    "size": (
        lambda value: _is_list(value, lambda side: is_count(side, 1, LARGEST_SIDE), 2),
        f"height and width in pixels, at most {LARGEST_SIDE}",
    ),
    "int8": (lambda value: isinstance(value, bool), "true or false"),
    "in_chans": (lambda value: is_count(value, 1, MOST_IN_CHANS), f"a number of channels, at most {MOST_IN_CHANS}"),
    "classes": (lambda value: value is None or _is_list(value, is_harmless), "a list of names, or null"),
    "palette": (lambda value: value is None or _is_list(value, is_colour), "a list of colours 0…255, or null"),
    "preprocessing": (lambda value: isinstance(value, dict), "a JSON object"),
    "settings": (lambda value: isinstance(value, dict), "a JSON object"),
    "files": (_are_texts, "file names with their SHA-256"),
    "software": (_are_texts, "packages with their versions"),
    "source": (is_harmless, "a text"),
    "checked": (lambda value: isinstance(value, dict), "a JSON object"),
}
