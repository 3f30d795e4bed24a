"""`gcvit completion SHELL`: a script that completes commands, tasks, recipes, flags and files at the prompt, of all
that their parsers know. The script needs nothing of ours when it runs."""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import shtab
from tyro.conf import Positional

from gcvit.cli.arguments import DESCRIBE, Described, parse
from gcvit.cli.main import COMMANDS
from gcvit.internals.of_others import arguments_of
from gcvit.tasks import TASKS


@dataclass(frozen=True)
class Completion:
    """Print a script for your shell; a new shell then completes gcvit's commands.

    bash: gcvit completion bash > ~/.local/share/bash-completion/completions/gcvit. zsh: gcvit completion zsh >
    FOLDER/_gcvit, for a FOLDER in $fpath. fish: gcvit completion fish > ~/.config/fish/completions/gcvit.fish
    """

    shell: Positional[Literal["bash", "zsh", "fish"]]
    """which one you use"""


def run(argv: Sequence[str]) -> None:
    """Print the script."""
    arguments = parse(Completion, "completion", argv)
    print(shtab.complete(_gcvit(), arguments.shell))


def _gcvit() -> ArgumentParser:
    """All commands as one parser."""
    whole = ArgumentParser("gcvit")
    verbs = whole.add_subparsers()
    for verb in dict.fromkeys(name.split()[0] for name in [*COMMANDS, "help", "version"]):
        kinds = {name.partition(" ")[2]: name for name in COMMANDS if name.split()[0] == verb}
        told = COMMANDS[verb].summary if verb in COMMANDS else " or ".join(kinds)
        parser = verbs.add_parser(verb, help=told)
        if verb == "train":
            tasks = parser.add_subparsers()
            for task in TASKS:
                found = tasks.add_parser(task.name, help=f"a model that {task.does}")
                _describe(found, "train", [task.name], recipe=list(task.recipes))
        elif verb in COMMANDS:
            _describe(parser, verb, [])
        elif kinds:
            further = parser.add_subparsers()
            for kind, name in kinds.items():
                found = further.add_parser(kind, help=COMMANDS[name].summary)
                _describe(found, name, [], form=[task.name for task in TASKS])
    return whole


def _describe(parser: ArgumentParser, name: str, words: list[str], **choices: list[str]) -> None:
    """Give `parser` the arguments of a command. choices: of those which a parser leaves to the command."""
    try:
        import_module(COMMANDS[name].module).run([*words, DESCRIBE])
    except Described as found:
        for action in arguments_of(found.parser):
            if "--help" not in action.option_strings:
                _add(parser, action, choices.get(action.dest))


def _add(parser: ArgumentParser, action: Any, choices: list[str] | None) -> None:
    names = action.option_strings or [action.dest]
    if action.nargs == 0:
        parser.add_argument(*names, action="store_true", help=action.help)
        return
    # As a person types them.
    known = ["none" if choice in (None, "None") else str(choice) for choice in action.choices or choices or []]
    many = action.nargs if action.nargs in ("*", "+", "?") else None
    added: Any = parser.add_argument(*names, nargs=many, choices=known or None, help=action.help)
    if not known and any(word in (action.metavar or "") for word in ("STR", "PATH", "MODEL", "IMAGES")):
        added.complete = shtab.FILE
