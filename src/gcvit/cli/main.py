"""Entry of the command `gcvit`: finds the verb, and turns a user's mistake into one message."""

import os
import sys
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple, TextIO

import gcvit
from gcvit.engine.stopping import Stopped


class Command(NamedTuple):
    """A verb: the module whose `run(arguments) -> exit code | None` it calls, and its line in the overview."""

    module: str
    summary: str


# Modules are imported only when their verb is asked for: a train run needs matplotlib, `info` does not.
COMMANDS = {
    "train classify": Command("gcvit.cli.train_classify", "train a classifier, by default on built-in images"),
    "train segment": Command("gcvit.cli.train_segment", "train a model that names every pixel"),
    "eval classify": Command("gcvit.cli.eval_classify", "measure classifiers on held-out images, side by side"),
    "eval segment": Command("gcvit.cli.eval_segment", "measure segmentation models, side by side"),
    "predict": Command("gcvit.cli.predict", "name what is in your images"),
    "predict segment": Command("gcvit.cli.predict_segment", "colour your images by what every pixel is"),
    "export": Command("gcvit.cli.export", "write a checked file for other runtimes, int8 too"),
    "info": Command("gcvit.cli.info", "list the models, or describe one"),
    "data index": Command("gcvit.cli.data_index", "write where each image in tar archives begins"),
    "doctor data": Command("gcvit.cli.doctor_data", "find damaged, repeated and misplaced images"),
    "doctor segment": Command("gcvit.cli.doctor_segment", "find damaged, missing and wrong label maps"),
    "data shapes": Command("gcvit.cli.data_shapes", "write the built-in images as folders"),
    "bench cost": Command("gcvit.cli.bench_cost", "parameters and multiply-adds, as in the paper"),
    "bench speed": Command("gcvit.cli.bench_speed", "compare the speed of models"),
    "bench budget": Command("gcvit.cli.bench_budget", "what bounds a model's speed here, and where time goes"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command (default: the process's own arguments).

    Returns on success. Raises `SystemExit` with 1 when part of the work failed, 2 for a mistake in the call
    (one message on stderr, no traceback; set `GCVIT_TRACEBACK=1` to see where it came from) and 130 after
    Ctrl-C. Any other exception is a bug of ours and passes through.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
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
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("GCVIT_TRACEBACK") or not _is_users_mistake(error):
            raise
        from gcvit.cli.output import visible  # with rich, which `--help` does without

        print(f"gcvit: {_rank()}error: {visible(_message(error))}", file=sys.stderr)
        code = 2
    if code:
        raise SystemExit(code)


def _dispatch(arguments: list[str]) -> int | None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return None
    if arguments[0] == "--version":
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
    verb = arguments[0]
    kinds = [name for name in COMMANDS if name.split()[0] == verb]
    if kinds and (len(arguments) == 1 or arguments[1] in ("-h", "--help")):
        raise ValueError(f"{verb} what? Type: {' or '.join(f'gcvit {name}' for name in kinds)}")
    asked = " ".join(arguments[: 2 if kinds else 1])
    near = get_close_matches(asked, kinds or [*COMMANDS, *(name.split()[0] for name in COMMANDS)], n=1, cutoff=0.5)
    hint = f"did you mean `gcvit {near[0]}`?" if near else "`gcvit` alone lists the commands."
    raise ValueError(f"there is no command `gcvit {asked}`; {hint}")


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  gcvit {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "gcvit: Global Context Vision Transformers, trained and used from one command",
            "",
            *lines,
            "",
            "Start with (trains a small model on built-in images, a few minutes on a laptop):",
            "  gcvit train classify",
            "",
            "Every command explains itself: gcvit predict --help",
        ]
    )


def _rank() -> str:
    """Which of torchrun's processes speaks, when it is not the first: they may all say the same."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f"rank {rank}: "


def _is_users_mistake(error: Exception) -> bool:
    """ValueError by the project's convention, a path that cannot be used, or a batch too large for the GPU."""
    return isinstance(error, ValueError | OSError) or type(error).__name__ == "OutOfMemoryError"


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if type(error).__name__ == "OutOfMemoryError":
        advice = "lower the batch size, or take --mode slide where there is one"
        return f"the device's memory is full; {advice}. ({str(error).splitlines()[0]})"
    return str(error)


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
        text = f"gcvit: note: {message}\n"
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
    (file or sys.stderr).write(text)
