"""The report of a run or an evaluation: one HTML file that needs nothing else, for a person who was not there."""

import base64
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gcvit.engine.config import as_dict
from gcvit.engine.figures import draw_curves
from gcvit.engine.folder import REPORT
from gcvit.files import write_atomically
from gcvit.metrics import most_confused, wilson
from gcvit.tasks.classify.charts import draw_confusion, draw_reliability
from gcvit.tasks.classify.config import ClassifyConfig
from gcvit.tasks.classify.data import Pictures
from gcvit.tasks.classify.evaluate import Evaluation
from gcvit.tasks.classify.names import readable
from gcvit.tasks.classify.pictures import surest, thumbnail
from gcvit.tasks.classify.report_style import STYLE
from gcvit.tasks.classify.wording import plural, rate

THUMBNAILS, SIDE = 12, 160
FOLDED = 25  # classes; a longer table is folded


def write_report(
    folder: Path,
    *,
    title: str,
    evaluation: Evaluation,
    images: Pictures,
    classes: Sequence[str],
    config: ClassifyConfig | None = None,
    events: Sequence[Mapping[str, Any]] = (),
    facts: Sequence[tuple[str, str]] = (),
    commands: Sequence[tuple[str, Sequence[object]]] = (),
) -> Path:
    """Write `folder`/report.html and return it.

    evaluation: of `images`, whose classes are called `classes`. config, events: of the training run and its log.
    facts: (name, value) lines about cost and environment, after those that the log tells.
    commands: (what for, its words), to type next.
    """
    sections = [
        _headline(title, evaluation, len(classes), len(images)),
        _curves(events, len(classes)),
        _pictures(evaluation, images, classes),
        _confusion(evaluation, classes),
        _per_class(evaluation, classes),
        _unreadable(evaluation),
        _facts([*_told(events), *facts]),
        _configuration(config),
        _commands(commands),
    ]
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n"
    )
    page = head + "\n".join(section for section in sections if section) + "\n</body></html>\n"
    path = folder / REPORT
    write_atomically(path, page.encode("utf-8", "backslashreplace"))  # a file's name may be no valid text
    return path


def _headline(title: str, result: Evaluation, classes: int, images: int) -> str:
    accuracy = result.accuracy
    low, high = result.top1_interval
    numbers = [("top-1", f"{accuracy.top1:.1%}", f"95% interval {low:.1%} to {high:.1%}")]
    if classes > 5:
        numbers.append(("top-5", f"{accuracy.top5:.1%}", "among the five likeliest"))
    numbers += [
        ("mean per class", f"{accuracy.mean_per_class:.1%}", "every class weighs the same"),
        ("calibration error", f"{result.calibration.error:.1%}", "ECE, 15 bins; 0 is best"),
        ("loss", f"{result.loss:.3f}", "mean cross-entropy (NLL)"),
        ("speed", f"{rate(result.images_per_second)}/s", "images evaluated, loading included"),
    ]
    cells = "".join(
        f"<div><span>{name}</span><b>{value}</b><span>{meaning}</span></div>" for name, value, meaning in numbers
    )
    left_out = f"; {plural(images - accuracy.images, 'image')} could not be read" if images > accuracy.images else ""
    return (
        f'<h1>{escape(title)}</h1><p class="soft">Measured on {plural(accuracy.images, "held-out image")} of '
        f"{plural(sum(share is not None for share in accuracy.per_class), 'class', 'es')}{left_out}.</p>"
        + (f'<p class="caution">{escape(result.caution)}</p>' if result.caution else "")
        + f'<div class="numbers">{cells}</div>'
    )


def _curves(events: Sequence[Mapping[str, Any]], classes: int) -> str:
    held_out = [event for event in events if event["event"] == "evaluation"]
    if not held_out:
        return ""
    scores = {"top1": "top-1", "top5": "top-5"} if classes > 5 else {"top1": "top-1"}
    figure = draw_curves([dict(event) for event in events], scores=scores, title="")
    return f"<h2>Training</h2>{_figure(figure, 'loss and held-out scores over the epochs')}"


def _pictures(result: Evaluation, images: Pictures, classes: Sequence[str]) -> str:
    parts = []
    for heading, right in (("Most confident mistakes", False), ("Most confident right answers", True)):
        rows = surest(result, THUMBNAILS, right=right)
        if rows:
            shown = "".join(_picture(result, row, images, classes) for row in rows)
            parts.append(f'<h2>{heading}</h2><div class="pictures">{shown}</div>')
    return "".join(parts)


def _picture(result: Evaluation, row: int, images: Pictures, classes: Sequence[str]) -> str:
    position = int(result.positions[row])
    guess, truth = int(result.predicted[row]), int(result.labels[row])
    image, name = thumbnail(images[position][0], SIDE), escape(images.name(position), quote=True)
    content = BytesIO()
    image.save(content, "JPEG", quality=85)
    verdict = "right" if guess == truth else "wrong"
    caption = f'<span class="{verdict}">{escape(readable(classes[guess]))} {result.confidence[row]:.0%}</span>'
    if guess != truth:
        caption += f"<br>is {escape(readable(classes[truth]))}"
    source = _data_uri(content.getvalue(), "jpeg")
    return (
        f'<figure><img src="{source}" alt="{name}" title="{name}" loading="lazy">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _confusion(result: Evaluation, classes: Sequence[str]) -> str:
    parts = [
        "<h2>What is taken for what</h2>",
        _figure(draw_confusion(result.labels, result.predicted, classes, title=""), "confusion of classes"),
    ]
    pairs = most_confused(result.labels, result.predicted, 10)
    if pairs:
        rows = [(readable(classes[truth]), readable(classes[guess]), f"{n:,}") for truth, guess, n in pairs]
        parts.append(_table(["class", "taken for", ">images"], rows))
    parts += [
        "<h2>Is it right as often as it is sure?</h2>",
        _figure(draw_reliability(result.calibration, title=""), "share right against confidence"),
    ]
    return "".join(parts)


def _per_class(result: Evaluation, classes: Sequence[str]) -> str:
    counted = [(label, images, hits) for label, (images, hits, _) in enumerate(result.accuracy.counts.tolist())]
    counted = [row for row in counted if row[1]]
    counted.sort(key=lambda row: (row[2] / row[1], row[0]))
    rows = []
    for label, images, hits in counted:
        low, high = wilson(hits, images)
        rows.append((readable(classes[label]), f"{images:,}", f"{hits / images:.1%}", f"{low:.0%} to {high:.0%}"))
    headings = ["class", ">images", ">top-1", ">95% interval"]
    if len(rows) <= FOLDED:
        return f"<h2>Classes, the worst first</h2>{_table(headings, rows)}"
    return (
        f"<h2>The ten worst classes</h2>{_table(headings, rows[:10])}"
        f"<details><summary>all {len(rows):,} classes</summary>{_table(headings, rows)}</details>"
    )


def _unreadable(result: Evaluation) -> str:
    if not result.unreadable:
        return ""
    rows = [(file, reason) for _, file, reason in result.unreadable]
    return f"<h2>Images that could not be read</h2>{_table(['file', 'reason'], rows)}"


def _told(events: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What the log says of cost and environment."""
    start = next((event for event in reversed(events) if event["event"] == "start"), None)
    if start is None:
        return []
    seconds, before = 0.0, None
    for event in events:  # the time between a stop and its resumption is not the run's
        if before is not None and event["event"] != "start":
            seconds += event["time"] - before
        before = event["time"]
    speeds = [event["images_per_second"] for event in events if event["event"] == "steps"]
    epochs = [event["epoch"] for event in events if event["event"] == "evaluation"]
    best = [event["epoch"] for event in events if event["event"] == "evaluation" and event["best"]]
    told = [("parameters", f"{start['parameters']:,}")]
    told += [("training images", f"{start['training_images']:,}")]
    if best:
        told += [("best epoch", f"{best[-1]} of {plural(epochs[-1], 'epoch')}")]
    told += [("time", f"{_duration(seconds)}, evaluations included")]
    if speeds:
        speeds.sort()
        told += [("training speed", f"{rate(speeds[len(speeds) // 2])} images/s (median)")]
    told += [
        ("device", f"{start['device']}, {start['precision']}, {plural(start.get('processes', 1), 'process', 'es')}")
    ]
    return told + [(name, str(value)) for name, value in start.get("versions", {}).items()]


def _facts(pairs: Sequence[tuple[str, str]]) -> str:
    return f"<h2>Cost and environment</h2>{_table(['', ''], pairs)}" if pairs else ""


def _configuration(config: ClassifyConfig | None) -> str:
    if config is None:
        return ""
    values, defaults = _flat(as_dict(config)), _flat(as_dict(ClassifyConfig()))
    changed = [
        (name, _value(value), _value(defaults[name])) for name, value in values.items() if value != defaults[name]
    ]
    rest = [(name, _value(value)) for name, value in values.items() if value == defaults[name]]
    first = _table(["setting", "value", "default"], changed) if changed else "<p>All settings at their defaults.</p>"
    return (
        f"<h2>Configuration</h2><details><summary>{plural(len(changed), 'setting')} changed from the defaults"
        f"</summary>{first}</details><details><summary>the other {plural(len(rest), 'setting')}</summary>"
        f"{_table(['setting', 'value'], rest)}</details>"
    )


def _commands(commands: Sequence[tuple[str, Sequence[object]]]) -> str:
    if not commands:
        return ""
    lines = "\n".join(f"# {what}\n{shlex.join(str(word) for word in words)}" for what, words in commands)
    return f"<h2>Next</h2><pre>{escape(lines)}</pre>"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text under headings. A heading that starts with ">" is set to the right, as numbers are."""
    kinds = [' class="number"' if heading.startswith(">") else "" for heading in headings]
    head = "".join(f"<th{k}>{escape(h.removeprefix('>'))}</th>" for k, h in zip(kinds, headings, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    head = f"<thead><tr>{head}</tr></thead>" if any(headings) else ""
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def _figure(figure: Figure, alternative: str) -> str:
    content = BytesIO()
    FigureCanvasAgg(figure).print_figure(content, dpi=120, format="png")
    return f'<figure><img src="{_data_uri(content.getvalue(), "png")}" alt="{escape(alternative)}"></figure>'


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as optim.lr, …"""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


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
