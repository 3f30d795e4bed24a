"""What a string or path means as a model. Nothing is opened or fetched here, and nobody else decides it."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from gcvit.errors import UserError
from gcvit.meta import BEST, CHECKPOINTS, CONFIG, LAST
from gcvit.model.variants import VARIANTS
from gcvit.weights.catalogue import CATALOGUE, NVLABS_REPO, CatalogueEntry, default_entry, entry_for_file
from gcvit.wording import listed

Kind = Literal["run", "hub folder", "hub id", "file", "exported file", "published name"]
Format = Literal["torch-export", "onnx", "openvino", "aot"]

# By these suffixes, and only by them, exported files are known.
SUFFIXES: dict[Format, str] = {
    "torch-export": ".pt2",
    "onnx": ".onnx",
    "openvino": ".xml",  # with the weights beside it, in a .bin
    "aot": ".aot.pt2",
}
CONFIG_FILE = "config.json"
WEIGHTS_FILE, PICKLED_FILE = "model.safetensors", "pytorch_model.bin"

MODEL_SUFFIXES = (".pth", ".pth.tar", ".pt", ".safetensors", ".bin", ".ckpt", *SUFFIXES.values())  # of nothing else
FILE_SUFFIXES = (*MODEL_SUFFIXES, ".tar", ".json")
ARCHIVE = re.compile(r"((?<!\.pth)(?<!\.pt)\.tar|\.(tgz|tbz2?|txz|zip|7z|rar|gz|bz2|xz|zst))$", re.IGNORECASE)
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
HUB_ID = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>(?!.*\.\.)[\w./-]+))?")
HUB_PREFIX, TIMM_PREFIXES = "hf-hub:", ("hf_hub:", "local-dir:")
MOST_COMPARED = 1000  # names in a folder
WANTED = "a run's folder, a hub folder or id (owner/name), a checkpoint or exported file, or a published model's name"


@dataclass(frozen=True)
class Source:
    """What a string or path means as a model.

    kind: "run": the folder of a training run; "hub folder": one with config.json and weights, or these weights in it;
        "hub id": owner/name on the hub; "file": a checkpoint; "exported file": what `gcvit export` wrote; "published
        name": a row of the catalogue, or a variant that stands for its NVlabs weights.
    name: what to call it in messages, as it was given.
    path: where it lies: RUN/best of a run; None for what may have to be fetched, a hub id or a published name.
    entry: its row in the catalogue of published checkpoints, which a file has by its name.
    repository, revision: of a hub id; the revision is None where none was given.
    """

    kind: Kind
    name: str
    path: Path | None = None
    entry: CatalogueEntry | None = None
    repository: str | None = None
    revision: str | None = None


def resolve(source: str | Path | Source) -> Source:
    """What `source` means, from its text and what lies on the disk under it. What is there comes before a name.

    Raises UserError, saying what to do, for what is nothing of `Source`'s kinds: an unknown name (with the near ones),
    a missing file, an archive, an address, a folder of several runs, a run of which nothing was evaluated yet, and the
    checkpoints that a run goes on from, which do not say what model they are.
    """
    if isinstance(source, Source):
        return source
    name = str(source)
    if not name.strip():
        raise UserError(f"an empty text names no model; give {WANTED}")
    path = Path(os.path.expanduser(name))
    if os.path.isdir(path):
        return _folder(path, name)
    if os.path.exists(path):
        return _file(path, name)
    return _name(name) or _absent(path, name)


def holds_model(path: Path) -> bool:
    """Whether a run, a model's folder or a model's file lies at `path`, at a glance."""
    if path.is_dir():
        run = (path / CONFIG).is_file() and (path / CHECKPOINTS).is_dir()  # annotations may be called train.json, too
        return run or weights_in(path) is not None or (path / BEST / CONFIG_FILE).is_file()
    described = path.suffix == ".xml" and not path.with_suffix(".bin").is_file()  # annotations are, too
    return path.is_file() and path.name.endswith(MODEL_SUFFIXES) and not described


def _folder(folder: Path, name: str) -> Source:
    if (folder / CONFIG_FILE).is_file():
        return Source("hub folder", name, folder)
    if (folder / BEST / CONFIG_FILE).is_file():
        return Source("run", name, folder / BEST)
    if run := _run_above(folder):
        if folder.absolute().name in (BEST, LAST):  # its files are missing, as reading it says
            return Source("hub folder", name, folder)
        if run == folder and ((folder / BEST).is_dir() or (folder / LAST).is_dir()):
            return Source("run", name, folder / BEST)
        raise UserError(_unfinished(run, name))
    runs = sorted(str(best.parent.parent) for best in folder.glob(f"*/{BEST}/{CONFIG_FILE}"))
    if runs:
        raise UserError(f"{name} holds several runs; give one of them: {listed(runs, 6)}")
    beneath = (f"*/{CONFIG_FILE}", f"snapshots/*/{CONFIG_FILE}")  # the second in the hub's cache
    models = sorted(str(config.parent) for pattern in beneath for config in folder.glob(pattern))
    if models:
        raise UserError(f"{name} holds models; give one of them: {listed(models)}")
    return Source("hub folder", name, folder)


def _file(path: Path, name: str) -> Source:
    if not path.is_file():
        raise UserError(f"{name} is a device or a pipe; give {WANTED}")
    if name.endswith(tuple(SUFFIXES.values())):
        return Source("exported file", name, path)
    if name.endswith(".json"):
        described = name.removesuffix(".json")
        exported = described.endswith(tuple(SUFFIXES.values()))
        raise UserError(f"{name} describes a model and holds no weights; give {described if exported else path.parent}")
    if ARCHIVE.search(path.name):
        raise UserError(
            f"{name} looks like an archive; unpack it and give the folder or file in it (a checkpoint that torch wrote "
            f"is called .pth or .pt)"
        )
    if path.absolute().parent.parent.name == CHECKPOINTS and (run := _run_above(path.parent)):
        raise UserError(_unfinished(run, name))
    if path == weights_in(path.parent) and (path.parent / CONFIG_FILE).is_file():
        return Source("hub folder", name, path.parent)  # which says what classes the weights have, and how they see
    return Source("file", name, path, entry_for_file(path.name))


def weights_in(folder: Path) -> Path | None:
    """The file that a hub folder's weights are read from."""
    return next((folder / name for name in (WEIGHTS_FILE, PICKLED_FILE) if (folder / name).is_file()), None)


def _unfinished(run: Path, name: str) -> str:
    """What to say of a place in a run's folder that is neither of its models."""
    kept = [str(run / kept) for kept in (BEST, LAST) if (run / kept / CONFIG_FILE).is_file()]
    if not kept:
        return f"{name}: nothing of this run was evaluated yet, so it has no {BEST}/ to use"
    return f"{name} is for training to go on from and does not say what model it is; give {' or '.join(kept)}"


def _run_above(folder: Path) -> Path | None:
    """The run that a folder is, or that its checkpoints lie in."""
    candidates = [folder, *folder.absolute().parents[:2]]
    return next((run for run in candidates if (run / CONFIG).is_file()), None)


def _name(name: str) -> Source | None:
    """A published name or a hub id; None for what can only be a path."""
    if entry := CATALOGUE.get(name) or default_entry(name):
        return Source("published name", name, entry=entry)
    if name in VARIANTS:
        raise UserError(f"no published weights for {name}: nobody has published any; train it, or pass a path")
    if name.startswith(TIMM_PREFIXES):
        raise UserError(f"{name}: that is timm's way to say it; here leave out {name.partition(':')[0]}:")
    bare = name.removeprefix(HUB_PREFIX)
    if ADDRESS.match(bare):
        raise UserError(
            f"{name}: addresses are not opened; give a hub model as owner/name, or download the file and give its path"
        )
    if not (match := HUB_ID.fullmatch(bare)) or (bare == name and name.endswith(FILE_SUFFIXES)):
        return None
    repository, revision = match["repository"], match["revision"]
    owner = repository.partition("/")[0]
    if bare == name and os.path.isdir(owner):  # more likely mistyped than meant
        return None
    if repository.lower() == NVLABS_REPO.lower():
        names = [entry.name for entry in CATALOGUE.values() if entry.location == NVLABS_REPO]
        raise UserError(f"{name} holds many models; give one of them by its name: {listed(names, len(names))}")
    return Source("hub id", name, entry=_timms(repository), repository=repository, revision=revision)


def _timms(repository: str) -> CatalogueEntry | None:
    """timm keeps the same weights in the hub as well, as timm/gcvit_tiny.in1k."""
    owner, _, name = repository.partition("/")
    return CATALOGUE.get(f"{name.removesuffix('.in1k')}.timm") if owner == "timm" else None


def _absent(path: Path, name: str) -> Source:
    """Raises UserError, with what is near: beside the path, or among the names."""
    if os.sep in name or name.endswith(FILE_SUFFIXES):
        if not os.path.isdir(path.parent):
            raise UserError(f"{name}: there is no such file or folder, and no {path.parent} either")
        beside = sorted(os.listdir(path.parent))
        near = [str(path.parent / found) for found in _near(path.name, beside[:MOST_COMPARED])]
        hint = f"did you mean {' or '.join(near)}?" if near else f"{path.parent} holds {listed(beside)}"
        hub = f" (a hub model would be {HUB_PREFIX}{name})" if HUB_ID.fullmatch(name) else ""
        raise UserError(f"{name}: no such file or folder; {hint}{hub}")
    near = _near(name, [*VARIANTS, *CATALOGUE])
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(VARIANTS)}"
    raise UserError(f"no such file, folder or model is called {name!r:.80}; {hint}")


def _near(name: str, known: Iterable[str]) -> list[str]:
    return get_close_matches(name, list(known), n=3, cutoff=0.4)
