"""The JSON beside an exported file: what its images need, what its outputs mean, and by which hash to know it again."""

import hashlib
import json
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from gcvit.data.label_maps import RGB, is_colour
from gcvit.export.formats import SUFFIXES, Format
from gcvit.files import write_atomically
from gcvit.model.config import Pair

Task = Literal["classify", "backbone", "segment"]
AGAIN = "export the model again"
LARGEST = 2**14  # pixels a side; a picture is enlarged to what a sidecar says


@dataclass(frozen=True)
class Sidecar:
    """What is known of an exported file.

    task: "classify" gives logits (batch, classes), "segment" logits at a quarter of the size, "backbone" four maps.
    name: the variant. size: (height, width) of the images in pixels. int8: whether it was quantised.
    in_chans: the images' channels. classes: names in the order of the logits, if known. palette: their colours, of
    segmentation models. preprocessing: how pictures become images, `Preprocessing` or `ScenePreprocessing` as JSON.
    files: SHA-256 of each of its files, by their names. software: versions that it was made with. source: the
    checkpoint. checked: what was found when it was compared with the model.

    Raises ValueError for values that cannot be, and for texts that a terminal would obey.
    """

    format: Format
    task: Task
    name: str
    size: Pair
    int8: bool
    in_chans: int
    classes: list[str] | None
    palette: list[RGB] | None
    preprocessing: dict[str, Any]
    files: dict[str, str]
    software: dict[str, str]
    source: str
    checked: dict[str, Any]

    def __post_init__(self) -> None:
        for key, (fits, expected) in _EXPECTED.items():
            if not fits(value := getattr(self, key)):
                raise ValueError(f"{key} should be {expected}, not {value!r:.80}")


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of an exported file lies: FILE.json."""
    return path.with_name(path.name + ".json")


def parts(path: Path, to: Format) -> list[Path]:
    """The files that an export consists of; the one that is opened last."""
    return [path.with_suffix(".bin"), path] if to == "openvino" else [path]


def hashes(path: Path, to: Format) -> dict[str, str]:
    """SHA-256 of an export's files, by their names."""
    return {part.name: _sha256(part) for part in parts(path, to)}


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Write the sidecar of the exported file `path`, in one step."""
    content = json.dumps(asdict(sidecar), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(sidecar_path(path), (content + "\n").encode())


def read_sidecar(path: Path) -> Sidecar:
    """The sidecar of the exported file `path`, which is what it was when it was exported.

    Raises ValueError, saying what to do, when the file, its .bin or its sidecar is missing, for unknown and missing
    keys, for values that cannot be, and for a file that was changed or renamed since.
    """
    beside = sidecar_path(path)
    for file in (path, beside):
        if not file.is_file():
            raise ValueError(f"{file}: there is no such file; an exported file and its .json belong together")
    values = _values(beside)
    try:
        sidecar = Sidecar(**values)
    except ValueError as error:
        raise ValueError(f"{beside}: {error}; {AGAIN}") from error
    _verify(path, sidecar)
    height, width = sidecar.size
    palette = sidecar.palette and [(red, green, blue) for red, green, blue in sidecar.palette]
    return replace(sidecar, size=(height, width), palette=palette)


def _values(beside: Path) -> dict[str, Any]:
    try:
        values = json.loads(beside.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{beside}: not valid JSON ({error}); {AGAIN}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{beside}: not a JSON object; {AGAIN}")
    known = [field.name for field in fields(Sidecar)]
    unknown, missing = [key for key in values if key not in known], [key for key in known if key not in values]
    if unknown or missing:
        lists = [("unknown", unknown), ("missing", missing)]
        wrong = "; ".join(f"{what} keys: {', '.join(keys)}" for what, keys in lists if keys)
        raise ValueError(f"{beside}: {wrong}; {AGAIN} with this version of gcvit")
    return values


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _verify(path: Path, sidecar: Sidecar) -> None:
    expected = {part.name for part in parts(path, sidecar.format)}
    if set(sidecar.files) != expected or not path.name.endswith(SUFFIXES[sidecar.format]):
        names = " and ".join(sorted(sidecar.files))
        raise ValueError(f"{path}: its sidecar is that of {names}; give the files their names back, or {AGAIN}")
    for part in parts(path, sidecar.format):
        if not part.is_file():
            raise ValueError(f"{part}: there is no such file, and {path.name} holds no weights without it; {AGAIN}")
        if _sha256(part) != sidecar.files[part.name]:
            raise ValueError(
                f"{part} is not what was exported: its SHA-256 is not the one in {sidecar_path(path).name}. "
                f"{AGAIN.capitalize()}, or copy both once more from where they came from"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_count(value: object, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_text(value: object) -> bool:
    """One that a terminal shows and does not obey."""
    return isinstance(value, str) and not any(unicodedata.category(character) in ("Cc", "Cs") for character in value)


def _is_list(value: object, fits: Callable[[object], bool], length: int | None = None) -> bool:
    return isinstance(value, list | tuple) and length in (None, len(value)) and all(map(fits, value))


def _are_texts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, [*value, *value.values()]))


_EXPECTED: dict[str, tuple[Callable[[object], bool], str]] = {
    "format": (lambda value: value in get_args(Format), f"one of {', '.join(get_args(Format))}"),
    "task": (lambda value: value in get_args(Task), f"one of {', '.join(get_args(Task))}"),
    "name": (_is_text, "a text"),
    "size": (
        lambda value: _is_list(value, lambda side: _is_count(side, 1) and side <= LARGEST, 2),  # type: ignore[operator]
        f"height and width in pixels, at most {LARGEST}",
    ),
    "int8": (lambda value: isinstance(value, bool), "true or false"),
    "in_chans": (lambda value: _is_count(value, 1), "a number of channels"),
    "classes": (lambda value: value is None or _is_list(value, _is_text), "a list of names, or null"),
    "palette": (lambda value: value is None or _is_list(value, is_colour), "a list of colours 0…255, or null"),
    "preprocessing": (lambda value: isinstance(value, dict), "a JSON object"),
    "files": (_are_texts, "file names with their SHA-256"),
    "software": (_are_texts, "packages with their versions"),
    "source": (_is_text, "a text"),
    "checked": (lambda value: isinstance(value, dict), "a JSON object"),
}
