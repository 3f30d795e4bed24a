"""Building blocks of a report: one HTML file that needs nothing else, readable on a phone and in the dark."""

import base64
from collections.abc import Mapping, Sequence
from html import escape as escaped
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from gcvit.engine.config import as_dict, flat
from gcvit.engine.figures import draw_each_curve
from gcvit.engine.folder import REPORT
from gcvit.files import write_atomically
from gcvit.shell import typed
from gcvit.tasks.config import RunConfig
from gcvit.tasks.evaluation import Number, Unreadable
from gcvit.wording import harmless, plural, rate

FOLDED = 25  # rows; a longer table is folded
# Pixels to the inch at which a figure is shown, and at least on a narrow screen, where a wider one scrolls.
WIDE, NARROW = {"png": 108, "jpeg": 150}, 64

STYLE = """
:root { color-scheme: light dark; --ink: #1c2128; --soft: #5b6470; --line: #d9dce1; --ground: #ffffff;
  --card: #f5f6f8; --right: #1a7f37; --wrong: #c1121f; --accent: #1f5fbf; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa3ae; --line: #363c44; --ground: #15181c;
  --card: #1f2328; --right: #56d364; --wrong: #ff7b72; --accent: #79b0ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p { margin: .3rem 0; max-width: 44rem; } .soft { color: var(--soft); }
.caution { border-left: 4px solid var(--wrong); padding: .2rem .8rem; margin: 1rem 0; }
.numbers { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .6rem; margin: 1.2rem 0; }
.numbers div { background: var(--card); border-radius: .5rem; padding: .6rem .8rem; }
.numbers b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.numbers span { color: var(--soft); font-size: .85rem; }
figure { margin: .6rem 0; overflow-x: auto; } figure > img { display: block; max-width: 100%; height: auto;
  background: #fff; border-radius: .5rem; padding: .4rem; }
.row { display: flex; flex-wrap: wrap; column-gap: 1rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.4rem, 1fr)); gap: .8rem; }
.pictures figure { margin: 0; } .pictures img { width: 100%; padding: 0; aspect-ratio: 1; object-fit: contain;
  background: var(--card); }
figcaption { font-size: .8rem; line-height: 1.3; overflow-wrap: anywhere; margin-top: .25rem; }
.right { color: var(--right); } .wrong { color: var(--wrong); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } td.number, th.number { text-align: right; }
td { overflow-wrap: break-word; max-width: 26rem; } td.number { white-space: nowrap; }
@media (max-width: 30rem) { td { max-width: 15rem; } th, td { padding-right: .6rem; } table { font-size: .85rem; } }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--accent); }
pre { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; white-space: pre-wrap;
  overflow-wrap: anywhere;
  font: .85rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
"""


def write_page(folder: Path, title: str, sections: Sequence[str]) -> Path:
    """Write `folder`/report.html from its sections, of which some may be empty, and return it."""
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n"
    )
    page = head + "\n".join(section for section in sections if section) + "\n</body></html>\n"
    path = folder / REPORT
    write_atomically(path, page.encode("utf-8", "backslashreplace"))  # a file's name may be no valid text
    return path


def headline(title: str, measured: str, caution: str | None, numbers: Sequence[Number]) -> str:
    """What was reached, at a glance. measured: on what."""
    cells = "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(meaning)}</span></div>"
        for name, value, meaning in numbers
    )
    return (
        f'<h1>{escape(title)}</h1><p class="soft">{escape(measured)}</p>'
        + (f'<p class="caution">{escape(caution)}</p>' if caution else "")
        + f'<div class="numbers">{cells}</div>'
    )


def classes_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A row for each class, the worst first; where there are many, the others can be unfolded."""
    if len(rows) <= FOLDED:
        return f"<h2>Classes, the worst first</h2>{table(headings, rows)}"
    return (
        f"<h2>The ten worst classes</h2>{table(headings, rows[:10])}"
        f"<details><summary>all {len(rows):,} classes</summary>{table(headings, rows)}</details>"
    )


def curves(events: Sequence[Mapping[str, Any]], scores: Mapping[str, str], unit: str) -> str:
    """Loss and held-out scores over a run; scores, unit: as for `draw_curves`."""
    if not any(event["event"] == "evaluation" for event in events):
        return ""
    loss, score = draw_each_curve([dict(event) for event in events], scores=dict(scores), unit=unit)
    row = figure(loss, f"loss over the {unit}s") + figure(score, f"held-out scores over the {unit}s")
    return f'<h2>Training</h2><div class="row">{row}</div>'


def left_out(images: Sequence[Unreadable]) -> str:
    """Images that could not be read."""
    if not images:
        return ""
    rows = [(file, reason) for _, file, reason in images]
    return f"<h2>Images that could not be read</h2>{table(['file', 'reason'], rows)}"


def told(events: Sequence[Mapping[str, Any]], unit: str) -> list[tuple[str, str]]:
    """What a run's log says of cost and environment, (name, value). unit: what it is counted in, "epoch" or "step"."""
    start = next((event for event in reversed(events) if event["event"] == "start"), None)
    if start is None:
        return []
    seconds, before = 0.0, None
    for event in events:  # the time between a stop and its resumption is not the run's
        if before is not None and event["event"] != "start":
            seconds += event["time"] - before
        before = event["time"]
    speeds = [event["images_per_second"] for event in events if event["event"] == "steps"]
    evaluated = [event for event in events if event["event"] == "evaluation"]
    best = [event[unit] for event in evaluated if event["best"]]
    found = [("parameters", f"{start['parameters']:,}"), ("training images", f"{start['training_images']:,}")]
    if best:
        found += [(f"best {unit}", f"{best[-1]:,} of {plural(evaluated[-1][unit], unit)}")]
    found += [("time", f"{_duration(seconds)}, evaluations included")]
    if speeds:
        speeds.sort()
        found += [("training speed", f"{rate(speeds[len(speeds) // 2])} images/s (median)")]
    found += [
        ("device", f"{start['device']}, {start['precision']}, {plural(start.get('processes', 1), 'process', 'es')}")
    ]
    return found + [(name, str(value)) for name, value in start.get("versions", {}).items()]


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """(name, value) lines about cost and environment."""
    return f"<h2>Cost and environment</h2>{table(['', ''], pairs)}" if pairs else ""


def configuration(config: RunConfig | None, defaults: RunConfig) -> str:
    """A run's settings, those that differ from the defaults first."""
    if config is None:
        return ""
    values, usual = dict(flat(as_dict(config))), dict(flat(as_dict(defaults)))
    changed = [(name, _value(value), _value(usual[name])) for name, value in values.items() if value != usual[name]]
    rest = [(name, _value(value)) for name, value in values.items() if value == usual[name]]
    first = table(["setting", "value", "default"], changed) if changed else "<p>All settings at their defaults.</p>"
    return (
        f"<h2>Configuration</h2><details><summary>{plural(len(changed), 'setting')} changed from the defaults"
        f"</summary>{first}</details><details><summary>the other {plural(len(rest), 'setting')}</summary>"
        f"{table(['setting', 'value'], rest)}</details>"
    )


def escape(text: str, *, keep: str = "") -> str:
    """A text in HTML, also as the value of an attribute. keep: characters that would be obeyed, to let through."""
    return escaped(harmless(text, keep=keep), quote=True)


def commands(lines: Sequence[tuple[str, Sequence[object]]]) -> str:
    """What to type next: (what for, its words)."""
    if not lines:
        return ""
    text = escape("\n".join(f"# {what}\n{typed(words)}" for what, words in lines), keep="\n")
    return f"<h2>Next</h2><pre>{text}</pre>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text under headings. A heading that starts with ">" is set to the right, as numbers are."""
    kinds = [' class="number"' if heading.startswith(">") else "" for heading in headings]
    head = "".join(f"<th{k}>{escape(h.removeprefix('>'))}</th>" for k, h in zip(kinds, headings, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    head = f"<thead><tr>{head}</tr></thead>" if any(headings) else ""
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def figure(drawn: Figure, alternative: str, *, kind: Literal["png", "jpeg"] = "png") -> str:
    """A figure, held in the page itself; up to 5.7 inches wide it can be read on a phone without scrolling.

    alternative: what it shows, in words. kind: jpeg for photographs.
    """
    content = BytesIO()
    FigureCanvasAgg(drawn).print_figure(content, dpi=160, format=kind)
    inches = drawn.get_size_inches()[0]
    size = f"width: {WIDE[kind] * inches:.0f}px; min-width: {NARROW * inches:.0f}px"
    source = _data_uri(content.getvalue(), kind)
    return f'<figure><img src="{source}" alt="{escape(alternative)}" style="{size}"></figure>'


def picture(image: Image.Image, name: str, caption: str) -> str:
    """A photograph with its file's name and, as HTML, what is to be read below it."""
    content = BytesIO()
    image.save(content, "JPEG", quality=85)
    source, name = _data_uri(content.getvalue(), "jpeg"), escape(name)
    return (
        f'<figure><img src="{source}" alt="{name}" title="{name}" loading="lazy">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _value(value: object) -> str:
    """A setting as a person types it."""
    if isinstance(value, list):
        return " ".join(map(_value, value))
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
