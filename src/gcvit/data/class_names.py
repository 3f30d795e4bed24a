"""Names of classes, as folders and lists of names give them."""

from collections.abc import Sequence
from pathlib import Path

from gcvit.errors import UserError
from gcvit.wording import composed, is_harmless


def check_names(what: str, remedy: str, names: Sequence[str]) -> None:
    """Raise UserError, "`what` 'a\\nb' …; `remedy`", for a class's name that a terminal would obey or a page could not
    hold, and for one that is there twice, in two forms of Unicode."""
    seen: dict[str, str] = {}
    for name in names:
        if name != name.encode("utf-8", "replace").decode():
            raise UserError(f"{what} {name!r} is no valid text (UTF-8); {remedy}")
        if not is_harmless(name):
            raise UserError(f"{what} {name!r} has letters that no screen shows, but obeys; {remedy}")
        if (other := seen.setdefault(composed(name), name)) != name:
            raise UserError(f"{what} {name!r} is there in two forms of Unicode, {other!a} and {name!a}; {remedy}")


def names_in(file: Path) -> list[str]:
    """A name a line; or ADE20K's own table, whose last column is a name and its synonyms.

    Raises UserError for a file that cannot be read, is empty, or has a name twice or that is no harmless text.
    """
    try:
        lines = [line.strip() for line in file.read_text("utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no valid text (UTF-8)"
        raise UserError(f"{file}: cannot read the classes' names: {reason}") from error
    if lines[0].startswith("Idx\t"):
        lines = [line.split("\t")[-1].split(",")[0].strip() for line in lines[1:]]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise UserError(f"{file}: no names in it; expected one class a line")
    for number, name in enumerate(lines):
        if not name:
            raise UserError(f"{file}: line {number + 1} is empty; expected one class a line")
        if name in lines[:number]:
            raise UserError(f"{file}: {name!r} stands in it twice; classes need different names")
    check_names(f"{file}: the name", "give the class another one", lines)
    return list(map(composed, lines))
