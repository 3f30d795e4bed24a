"""Imports go one way between the rooms of the package, `import gcvit` stays light, and settings need no torch."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import zip_longest
from pathlib import Path

import pytest

import gcvit
from gcvit.cli.main import COMMANDS
from gcvit.tasks import TASKS

PACKAGE = Path(gcvit.__file__).parent

# DESIGN's picture: a room may import itself and whatever can be reached by these arrows.
ARROWS: dict[str, set[str]] = {
    "__main__": {"cli"},
    "__init__": {"verbs", "timm_models"},
    "verbs": {"opening"},
    "cli": {"bench", "serve", "__init__"},
    "bench": {"explain", "opening"},
    "serve": {"explain", "opening"},
    "opening": {"export"},
    "explain": {"tasks"},
    "export": {"tasks"},
    "tasks": {"engine", "factory"},
    "engine": {"data", "metrics", "meta"},
    "data": {"distributed", "files", "internals", "shell", "wording"},
    "metrics": {"distributed"},
    "distributed": {"errors", "wording"},
    "timm_models": {"factory"},
    "factory": {"weights"},
    "weights": {"model", "meta", "wording"},
    "model": {"kernels", "on_demand"},
    "kernels": {"errors", "internals"},
    "internals": {"errors"},
    "meta": {"files"},
    "files": {"errors"},
    "shell": {"wording"},
    "on_demand": set(),
    "wording": set(),
    "errors": set(),
}


def reachable(room: str) -> set[str]:
    """The room itself and all rooms further along the arrows."""
    return {room}.union(*(reachable(further) for further in ARROWS[room]))


def imported_modules(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def room_of(parts: list[str]) -> str:
    """The room of a module, given its dotted name below `gcvit` as parts."""
    return parts[0] if parts else "__init__"


def violations(root: Path) -> list[str]:
    """Every import in the package at `root` that goes against the arrows, as "file:line: from → to"."""
    found = []
    modules = {".".join(path.relative_to(root).with_suffix("").parts) for path in root.rglob("*.py")}
    rooms = {module.split(".")[0] for module in modules}
    for path in sorted(root.rglob("*.py")):
        parts = list(path.relative_to(root).with_suffix("").parts)
        room = room_of(parts)
        if room not in ARROWS:
            found.append(f"{path.name}: the room {room!r} is not in the picture; add it to ARROWS")
            continue
        for line, name in imported_modules(ast.parse(path.read_text("utf8")), ["gcvit", *parts[:-1]]):
            top, *rest = name.split(".")
            if top != "gcvit" or rest == ["__version__"]:  # a constant, and everyone's
                continue
            target = rest[0] if rest and rest[0] in rooms else "__init__"
            if target not in reachable(room):
                found.append(f"{path.relative_to(root)}:{line}: {room} → {target}")
    return found


def test_imports_go_one_way() -> None:
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "source", "arrow"),
    [
        ("model/gcvit.py", "from gcvit.weights.loading import load_weights", "model → weights"),
        ("engine/loop.py", "def step():\n    import gcvit.tasks.classify", "engine → tasks"),
        ("data/images.py", "from ..engine import loop", "data → engine"),
        ("weights/loading.py", "from gcvit import create_model", "weights → __init__"),
        ("tasks/classify.py", "from gcvit import cli", "tasks → cli"),
        ("tasks/train.py", "from gcvit.opening import open", "tasks → opening"),
        ("helpers/strings.py", "", "not in the picture"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, file: str, source: str, arrow: str) -> None:
    for room in ("model", "engine", "data", "weights", "tasks", "cli"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").touch()
    (tmp_path / "opening.py").write_text("from gcvit.tasks import task_of\n")
    (tmp_path / "cli" / "main.py").write_text("import gcvit.opening\nfrom gcvit.model import gcvit\n")
    assert violations(tmp_path) == []
    planted = tmp_path / file
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(source)
    (violation,) = violations(tmp_path)
    assert arrow in violation


def test_the_model_needs_only_torch() -> None:
    allowed = {"torch", "jaxtyping", "gcvit"} | set(sys.stdlib_module_names)
    for path in (PACKAGE / "model").rglob("*.py"):
        for line, name in imported_modules(ast.parse(path.read_text("utf8")), ["gcvit", "model"]):
            assert name.split(".")[0] in allowed, f"{path.name}:{line} imports {name}"


def loaded(code: str) -> set[str]:
    """What a process of its own has imported after `code`: packages of others, and rooms as gcvit.ROOM."""
    script = f"{code}\nimport sys; print(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {".".join(name.split(".")[: 1 + (name.startswith("gcvit."))]) for name in result.stderr.split()}


def test_import_gcvit_is_light() -> None:
    assert loaded("import gcvit").isdisjoint({"torch", "timm", "numpy", "gcvit.factory", "gcvit.cli"})
    heavy = {"timm", "torchvision", "matplotlib", "tyro", "rich", "sklearn", "gcvit.cli", "gcvit.tasks", "gcvit.export"}
    found = loaded("import gcvit, sys; gcvit.create_model('gcvit_pico'); assert 'torch._dynamo' not in sys.modules")
    assert "torch" in found
    assert found.isdisjoint(heavy)


@pytest.mark.parametrize("words", [[], ["--version"], ["--help"], ["trian"], ["bench"], ["bench", "sped"]])
def test_the_command_answers_without_torch(words: list[str]) -> None:
    code = f"from gcvit.cli.main import main\ntry: main({words})\nexcept SystemExit: pass"
    assert loaded(code).isdisjoint({"torch", "numpy", "timm", "tyro"})


# What a command needs for its work alone. NumPy, too, takes a third of the 0.3 seconds in which it answers.
FOR_WORK = {"torch", "torchvision", "timm", "numpy", "PIL", "matplotlib", "scipy", "safetensors", "huggingface_hub"}
SETTINGS = ("settings", "config", "recipes", "task")


IMPORTING, NAMED = "from importlib import import_module", "answer = import_module(given).__name__"
Answered = tuple[object, object, list[str]]


def in_turn(first: str, each: str, given: Sequence[object]) -> list[Answered]:
    """Each of what is given, what `each` made of it, `answer`, and what is imported for work then; in one process."""
    script = f"import contextlib, io, json, sys\n{first}\nfor given in json.load(sys.stdin):\n    {each}\n    " + (
        f"print(json.dumps([given, answer, sorted({FOR_WORK} & set(sys.modules))]))"
    )
    run = [sys.executable, "-c", script]
    done = subprocess.run(run, input=json.dumps(given), capture_output=True, text=True, check=True)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def first_difference(found: Sequence[Answered], expected: Sequence[Answered]) -> Answered | None:
    """The first row that is not as expected, or that is missing: what one has imported the rows after it have too."""
    rows = (one or other for one, other in zip_longest(found, expected) if one != other)
    return next(rows, None)


def test_settings_are_free_of_torch() -> None:
    """By a module's name one knows that it describes what is to be done, and does none of it."""
    files = [path for path in PACKAGE.rglob("*.py") if path.stem in SETTINGS or path.parent.name == "cli"]
    modules = sorted(".".join(["gcvit", *path.relative_to(PACKAGE).with_suffix("").parts]) for path in files)
    found = in_turn(IMPORTING, NAMED, modules)
    assert first_difference(found, [(module, module, []) for module in modules]) is None


def test_a_planted_leak_is_reported_as_its_first_row() -> None:
    clean, leaking = "gcvit.tasks.recipe", "gcvit.engine.loop"
    found = in_turn(IMPORTING, NAMED, [clean, leaking, clean])
    assert [("torch" in imported) for *_, imported in found] == [False, True, True]
    assert first_difference(found, [(module, module, []) for module in (clean, leaking, clean)]) == found[1]
    assert first_difference(found[:1], [(clean, clean, []), (leaking, leaking, [])]) == (leaking, leaking, [])


def test_commands_answer_what_needs_no_work_without_what_is_for_work() -> None:
    shown: list[list[str]] = [[*name.split(), "--help"] for name in COMMANDS] + [["completion", "bash"]]
    wrong = [[*name.split(), "--nonsense"] for name in COMMANDS]
    for task in TASKS:
        train, recipe = ["train", task.name], next(iter(task.recipes))
        shown += [[*train, "--help"], [*train, "--list"], [*train, recipe, "--help"]]
        wrong += [[*train, *flags] for flags in (["--nonsense"], ["nonsense"], ["--steps", "x"], ["--batch-size", "0"])]
        wrong += [["train", task.name[:-1]], ["doctor", "DATA", "--task", task.name, "--nonsense"]]
    wrong += [["train"], ["train", "nonsense"], ["info", "--size", "1"], ["bench", "claims", "--dim", "7"]]
    wrong += [["tables", "9"], ["bench", "ablations", "--arms", "nonsense"], ["bench", "speed", "--rounds", "0"]]
    # No model is opened, and no data, for a flag that none of them could have.
    wrong += [[verb, "MODEL", "photo.jpg", "--nonsense"] for verb in ("predict", "explain")]
    wrong += [[verb, "MODEL", "--nonsense"] for verb in ("eval", "serve", "export", "doctor", "bench queries")]
    wrong = [" ".join(words).split() for words in wrong]
    each = """
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            answer = main(given) or 0
        except SystemExit as end:
            answer = end.code or 0"""
    found = in_turn("from gcvit.cli.main import main", each, [*shown, *wrong])
    expected = [(words, 0, []) for words in shown] + [(words, 2, []) for words in wrong]
    assert first_difference(found, expected) is None


@pytest.mark.parametrize("name", ["gcvit", "gcvit.model", "gcvit.weights", "gcvit.explain"])
def test_the_public_names_are_those_that_type_checkers_see(name: str) -> None:
    package = import_module(name)
    tree = ast.parse(Path(str(package.__file__)).read_text("utf8"))
    shown = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {
        (statement.module, alias.name)
        for statement in shown.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    names = package._ROOMS if package is gcvit else package._SHOWN
    rooms = {("gcvit", room) for room in gcvit._ROOMS} if package is gcvit else set()
    assert seen == rooms | {(f"{name}.{module}", one) for module, own in names.items() for one in own}
    assert set(package.__all__) == {one for own in names.values() for one in own}
    assert not names.keys() & set(package.__all__), "who imports the module would then have that, not what is shown"
    for one in (*package.__all__, *names):
        assert one in dir(package)
        assert getattr(package, one) is not None
    with pytest.raises(AttributeError, match="creat_model"):
        _ = package.creat_model


def test_users_mistakes_have_their_own_type() -> None:
    """A plain ValueError would show a traceback: it is for what only code can get wrong."""
    plain = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in ("metrics", "kernels")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id == "ValueError"
    ]
    assert [place for place in plain if not place.startswith(("model/folding.py", "export/channels_first.py"))] == []
