"""The tables of the terminal as Markdown."""

from collections.abc import Iterable, Sequence


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A pipe table; a heading that starts with ">" is set to the right, as numbers are."""
    lines = [
        [column.removeprefix(">") for column in columns],
        ["---:" if column.startswith(">") else "---" for column in columns],
        *rows,
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of "name: value"."""
    return "\n".join(f"- {name}: {value}" for name, value in pairs)
