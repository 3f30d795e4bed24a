"""The paper's tables for people, for Markdown, for LaTeX and for programs."""

import csv
from collections.abc import Sequence
from io import StringIO
from string import ascii_lowercase

from gcvit.bench.published import Source
from gcvit.bench.report import Grid, Page, markdown_table
from gcvit.bench.tables import APART, Cell, PaperTable

CSV_HEADING = ["table", "method", "model", "column", "published", "counted", "apart", "explained", "measured"]
CSV_HEADING += ["measured in", "trained by", "copied from", "protocol", "remark"]
LATEX = {letter: f"\\{letter}" for letter in "&%#_${}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "²": "$^2$",
    "×": r"$\times$",
    "→": r"$\to$",
    "–": "--",
}
PAGE = 30  # rows that a page surely holds
WIDE = 60  # letters in a line that a page holds as they are


def wide(table: PaperTable) -> tuple[list[str], list[list[str]], list[str]]:
    """Headings, rows and notes. A heading that starts with ">" is one of numbers; a letter stands for a source, that of
    the row or, behind a figure, its own; a star for a count that is more than 1% apart."""
    texts = list(dict.fromkeys(name for row in table.rows for name in row.texts))
    columns = list(dict.fromkeys(name for row in table.rows for name in row.cells))
    sources: dict[Source, str] = {}
    for row in table.rows:
        for cell in row.cells.values():
            if cell.source is not None:
                sources.setdefault(cell.source, ascii_lowercase[len(sources)])
    headings, shown = ["", *texts, *(["from"] if sources else [])], []
    for name in columns:
        cells = [row.cells.get(name, Cell()) for row in table.rows]
        figures = [str(cell.published) for cell in cells if cell.published is not None]
        digits = max((len(figure.partition(".")[2]) for figure in figures), default=0)
        parts = [bool(figures), any(cell.counted for cell in cells), any(cell.measured for cell in cells)]
        shown.append((name, digits, parts))
        names = (name, "counted", "ours") if figures else ("", f"{name}, counted", f"{name}, ours")
        headings += [f">{heading}" for heading, part in zip(names, parts, strict=True) if part]
    rows, notes = [], [f"{letter}: {source}" for source, letter in sources.items()]
    for row in table.rows:
        usual = next((cell.source for cell in row.cells.values() if cell.source is not None), None)
        line = [row.method, *(row.texts.get(name, "") for name in texts)]
        line += [sources.get(usual, "") if usual else ""] if sources else []
        for name, digits, parts in shown:
            cell = row.cells.get(name, Cell())
            own = "" if cell.source is None or cell.source == usual else f" {sources[cell.source]}"
            printed = "–" if cell.published is None else f"{cell.published:.{digits}f}{own}"
            line += [text for text, part in zip((printed, _counted(cell), cell.measured), parts, strict=True) if part]
            if cell.explained and abs(cell.apart or 0) > APART:
                notes.append(f"* {row.method}, {name}: {cell.explained}")
        rows.append(line)
    if any(text.endswith("*") for line in rows for text in line):
        notes.append(f"*: more than {APART:.0%} apart")
    return headings, rows, [*notes, *table.remarks, *(f"ours: {run}" for run in table.runs)]


def page(table: PaperTable) -> Page:
    """A table for a terminal."""
    headings, rows, notes = wide(table)
    return Page("", [Grid(f"{table.name}: {table.title}", headings, rows)], notes)


def _counted(cell: Cell) -> str:
    if cell.counted is None:
        return ""
    digits = 1 if cell.counted >= 200 else 2
    return f"{cell.counted:.{digits}f}{'*' if abs(cell.apart or 0) > APART else ''}"


def markdown(tables: Sequence[PaperTable]) -> str:
    """All of them, each under its title, with its notes as a list."""
    parts = []
    for table in tables:
        headings, rows, notes = wide(table)
        listed = "\n".join("- " + note.replace("*", r"\*") for note in notes)
        parts.append(f"## {table.name}: {table.title}\n\n{markdown_table(headings, rows)}\n\n{listed}")
    return "\n\n".join(parts)


def latex(tables: Sequence[PaperTable]) -> str:
    """All of them, for a document with the packages booktabs and longtable: long ones break over pages, and wide ones
    have small letters."""
    parts = []
    for table in tables:
        headings, rows, notes = wide(table)
        kinds = "".join("r" if name.startswith(">") else "l" for name in headings)
        head, *body = [
            " & ".join(map(_latex, line)) + r" \\" for line in [[name.removeprefix(">") for name in headings], *rows]
        ]
        letters = sum(max(map(len, column)) for column in zip(headings, *rows, strict=True))
        size = r"\scriptsize\setlength{\tabcolsep}{3pt}" if letters > WIDE else r"\small"
        caption = rf"\caption{{{_latex(table.title)}}}\label{{tab:{table.number}}}"
        below = "{\\footnotesize " + "\n".join(rf"\par {_latex(note)}" for note in notes) + r"\par}"
        lines = [r"\begin{table}", rf"\centering{size}", caption, rf"\begin{{tabular}}{{{kinds}}}"]
        lines += [r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", below, r"\end{table}"]
        if len(rows) > PAGE:
            lines = [rf"{{{size}", rf"\begin{{longtable}}{{{kinds}}}", rf"{caption}\\", r"\toprule", head, r"\midrule"]
            lines += [r"\endhead", r"\bottomrule", r"\endfoot", *body, r"\end{longtable}", below, "}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _latex(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in text)


def as_csv(tables: Sequence[PaperTable]) -> str:
    """A line for each figure, for what else the paper prints or is said here of a row but its model's name, and for
    each remark on a table."""
    out = StringIO()
    writer = csv.DictWriter(out, CSV_HEADING, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for row in table.rows:
            of = {"table": table.number, "method": row.method.strip(), "model": row.model}
            for column, text in row.texts.items():
                if column != "name":
                    said = "published" if column == "printed" else "counted"
                    writer.writerow({**of, "column": column.removeprefix(">"), said: text})
            for column, cell in row.cells.items():
                figures = {"published": cell.published, "counted": cell.counted, "measured": cell.measured}
                why = {"apart": "" if cell.apart is None else f"{cell.apart:.4f}", "explained": cell.explained}
                runs = {"measured in": "; ".join(map(str, cell.ours))}
                source = {} if cell.source is None else cell.source._asdict()
                traced = {name.replace("_", " "): text for name, text in source.items()}
                writer.writerow({**of, "column": column, **figures, **why, **runs, **traced})
        for remark in table.remarks:
            writer.writerow({"table": table.number, "remark": remark})
    return out.getvalue().rstrip("\n")


FORMATS = {"markdown": markdown, "latex": latex, "csv": as_csv}
