"""Entry of the command `gcvit`: finds the verb, and turns a user's mistake into one message."""

import errno
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple, TextIO

import gcvit
from gcvit.engine.stopping import Stopped
from gcvit.errors import UserError
from gcvit.shell import as_typed, typed
from gcvit.wording import harmless

# What no code can mend: of these errors of the operating system a person is told, whoever called it.
REFUSALS = frozenset(
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EACCES", "EPERM", "EROFS", "EMFILE", "ENFILE", "ENOMEM", "ENAMETOOLONG"),
        *("ELOOP", "EIO", "EBUSY", "ESTALE", "ETIMEDOUT", "ENOTSUP", "ETXTBSY", "ENODEV", "ENXIO"),
    )
    if hasattr(errno, name)
)


class Command(NamedTuple):
    """A verb: the module whose `run(arguments) -> exit code | None` it calls, and its line in the overview."""

    module: str
    summary: str


# A module is imported when its verb is asked for, and imports what it works with when it has read its arguments.
COMMANDS = {
    "train": Command("gcvit.cli.train", "train a model: gcvit train TASK, such as classify"),
    "eval": Command("gcvit.cli.evaluate", "measure models on held-out images, side by side"),
    "predict": Command("gcvit.cli.predict", "say what a model sees in your images"),
    "explain": Command("gcvit.cli.explain", "show what a model looks at: attention, Grad-CAM"),
    "info": Command("gcvit.cli.info", "list the models, or describe one"),
    "export": Command("gcvit.cli.export", "write a checked file for other runtimes, int8 too"),
    "serve": Command("gcvit.cli.serve", "put a model behind HTTP, and on a page to explore it"),
    "doctor": Command("gcvit.cli.doctor", "find damaged, repeated, missing and misplaced data"),
    "data shapes": Command("gcvit.cli.data_shapes", "write the built-in images as folders"),
    "data index": Command("gcvit.cli.data_index", "write where each image in tar archives begins"),
    "completion": Command("gcvit.cli.completion", "complete what you type: in bash, zsh or fish"),
    "tables": Command("gcvit.cli.tables", "the paper's tables: as published, and as counted here"),
    "bench cost": Command("gcvit.cli.bench_cost", "parameters and multiply-adds, as in the paper"),
    "bench figure1": Command("gcvit.cli.bench_figure1", "accuracy against cost, counted and measured"),
    "bench complexity": Command("gcvit.cli.bench_complexity", "appendix F: cost over the size of the image"),
    "bench speed": Command("gcvit.cli.bench_speed", "compare the speed of models"),
    "bench queries": Command("gcvit.cli.bench_queries", "what a trained model uses its global queries for"),
    "bench claims": Command("gcvit.cli.bench_claims", "how far a block sees, what travels: tried on puzzles"),
    "bench ablations": Command("gcvit.cli.bench_ablations", "the ablation tables, trained in small"),
    "bench budget": Command("gcvit.cli.bench_budget", "what bounds a model's speed here, and where time goes"),
}


HELP = (["-h"], ["--help"], ["help"])


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command (default: the process's own arguments).

    Returns on success. Raises `SystemExit` with 1 when part of the work failed, 2 for a mistake of the caller's (one
    message on stderr, no traceback; set `GCVIT_TRACEBACK=1` to see where it came from) and 130 after Ctrl-C. Any other
    exception is a mistake of ours: it passes through, after a line that asks for a report.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _share_the_processor()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = _dispatch(arguments)
        sys.stdout.flush()  # so that a closed pipe shows here and not at the interpreter's exit
    except KeyboardInterrupt as stop:
        print(f"\ngcvit: stopped. {stop}".rstrip(), file=sys.stderr)
        code = 130
    except Stopped as stop:
        if not _rank():
            print(f"\ngcvit: {stop}", file=sys.stderr)
        code = 0  # it did what it was asked to
    except BrokenPipeError:
        # The reader (`| head`) has gone; Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    except Exception as error:
        message = _users_mistake(error)
        if os.environ.get("GCVIT_TRACEBACK") or message is None:
            print("gcvit: this is a mistake of ours; please report it with the lines below", file=sys.stderr)
            raise
        print(f"gcvit: {_rank()}error: {harmless(as_typed(message), keep='')}", file=sys.stderr)
        code = 2
    if code:
        raise SystemExit(code)


def _share_the_processor() -> None:
    """Threads that wait for each other soon leave the core to others; torch reads this when it is loaded. By default
    they keep it, and computing beside other programs all but stops (docs/performance.md). What the user has set on
    threads stays."""
    set_already = any(name.startswith(("OMP_", "GOMP_", "KMP_", "MKL_")) for name in os.environ)
    if "torch" not in sys.modules and not set_already:
        os.environ["GOMP_SPINCOUNT"] = "1000"


def _dispatch(arguments: list[str]) -> int | None:
    if arguments[:1] in HELP and len(arguments) > 1:  # about what follows
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments in HELP:
        print(_overview())
        return None
    if arguments[1:] in HELP and (kinds := _kinds(arguments[0])):
        print("\n".join(_listed(kinds)))
        return None
    if arguments[0] in ("--version", "version"):
        print(f"gcvit {gcvit.__version__}")
        return None
    name, rest = _split(arguments)
    return import_module(COMMANDS[name].module).run(rest)


def _split(arguments: list[str]) -> tuple[str, list[str]]:
    """The command's name, of one or two words, and what follows it."""
    for words in (2, 1):
        name = " ".join(arguments[:words])
        if name in COMMANDS:
            return name, arguments[words:]
    verb, kinds = arguments[0], _kinds(arguments[0])
    if kinds and len(arguments) == 1:
        raise UserError(f"{verb} what? Type: {' or '.join(f'gcvit {name}' for name in kinds)}")
    asked = " ".join(arguments[: 2 if kinds else 1])
    near = get_close_matches(asked, kinds or [*COMMANDS, *(name.split()[0] for name in COMMANDS)], n=1, cutoff=0.5)
    hint = f"did you mean `gcvit {near[0]}`?" if near else "`gcvit` alone lists the commands."
    raise UserError(f"there is no command `gcvit {asked}`; {hint}")


def _kinds(verb: str) -> list[str]:
    """The commands of two words that a verb begins."""
    return [name for name in COMMANDS if name.split()[0] == verb != name]


def _listed(names: Iterable[str]) -> list[str]:
    width = max(map(len, names := list(names)))
    return [f"  gcvit {name:{width}}  {COMMANDS[name].summary}" for name in names]


def _overview() -> str:
    return "\n".join(
        [
            "gcvit: Global Context Vision Transformers, trained and used from one command",
            "",
            *_listed(COMMANDS),
            "",
            "Start with (trains a small model on built-in images, a few minutes on a laptop):",
            f"  {typed(['gcvit', 'train', 'classify'])}",
            "",
            f"Every command explains itself: {typed(['gcvit', 'predict', '--help'])}",
        ]
    )


def _rank() -> str:
    """Which of torchrun's processes speaks, when it is not the first: they may all say the same."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f"rank {rank}: "


def _users_mistake(error: Exception) -> str | None:
    """What to tell the person who called, or None for a mistake of ours: what was given cannot be used, the machine
    refuses (a full disk, no permission), or its GPU's memory is full."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in REFUSALS:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)
    if type(error).__name__ == "OutOfMemoryError":
        advice = "lower the batch size, or take --mode slide where there is one"
        return f"the device's memory is full; {advice}. ({str(error).splitlines()[0]})"
    return None


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Our own notices (a licence) without the place in the source, which says nothing to a user."""
    if category.__module__.startswith("gcvit."):
        text = f"gcvit: note: {harmless(as_typed(str(message)), keep='')}\n"
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
    (file or sys.stderr).write(text)
