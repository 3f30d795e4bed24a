"""A comparison of speeds for people and for programs: table, JSON, Markdown and a picture."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from matplotlib.figure import Figure

from gcvit.bench.report import Grid, Page, digits, machine, write_results
from gcvit.bench.settings import SpeedConfig
from gcvit.bench.speed import Row, contenders_of
from gcvit.engine.device import resolve_device
from gcvit.engine.figures import HELD_OUT_COLOUR, TRAIN_COLOUR, save_figure, sheet, tidy

NOTES = (
    "ms: the median over the turns of a batch's time; p50, p90, p99: percentiles of",
    "single batches, where there are enough of them; ×: the first model's median over",
    "this one's; paired: the median of that ratio within each round, which what else",
    "the machine does hardly touches; MiB: peak memory of weights, optimiser, images",
    "and a step, a GPU's or the process's; J/image: the card's own meter; Δ: distance",
    "from the outputs of the first model of the same weights, ‖Δ‖ / ‖first‖",
)


def page(config: SpeedConfig, rows: Sequence[Row]) -> Page:
    """The table with what it was measured on."""
    facts = [("measured", measured(config)), *_machine(config).items()]
    return Page(f"Speed: {measured(config)}", [Grid("", *table(rows))], NOTES, facts)


def _machine(config: SpeedConfig) -> dict[str, str]:
    return machine(resolve_device(config.device), config.threads)


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells for people; a heading that starts with ">" is one of numbers. Columns that say nothing
    (memory where it is not told, differences without a twin) are left out."""
    columns: dict[str, list[str]] = {
        ">batch": [str(row.batch_size) for row in rows],
        "model": [row.model for row in rows],
        ">ms": [digits(row.median_ms) for row in rows],
        ">p50": [digits(row.percentiles_ms[0]) for row in rows],
        ">p90": [digits(row.percentiles_ms[1]) for row in rows],
        ">p99": [digits(row.percentiles_ms[2]) for row in rows],
        ">images/s": [digits(row.images_per_second) for row in rows],
        ">×": [f"{row.speedup:.2f}" for row in rows],
        ">paired": [f"{row.paired_speedup:.2f}" for row in rows],
        ">MiB": ["" if row.peak_memory is None else f"{row.peak_memory / 2**20:.0f}" for row in rows],
        ">J/image": [digits(row.joules_per_image) for row in rows],
        ">Δ": ["" if row.difference is None else f"{row.difference:.0e}" for row in rows],
    }
    kept = {heading: cells for heading, cells in columns.items() if any(cells)}
    return list(kept), [list(cells) for cells in zip(*kept.values(), strict=True)]


def measured(config: SpeedConfig) -> str:
    """What was measured, in one line."""
    what = "a training step" if config.mode == "train" else "inference"
    height, width = config.sides
    part = "" if config.part == "model" else f" of {'backbones' if config.heads is None else config.part}"
    return f"{what}{part} at {height}×{width} px, {config.precision}, {config.rounds} turns each"


def as_json(config: SpeedConfig, rows: Sequence[Row]) -> dict[str, object]:
    """The machine, the settings and every row, as plain JSON types."""
    settings = {field.name: getattr(config, field.name) for field in fields(SpeedConfig)}
    settings["models"] = [str(contender) for contender in contenders_of(config)]
    return {"machine": _machine(config), "settings": settings, "rows": [asdict(row) for row in rows]}


def write(folder: Path, config: SpeedConfig, rows: Sequence[Row], command: Sequence[str]) -> list[Path]:
    """Write results.json, results.md and speed.png into `folder`, which is made; returns their paths. command: what was
    typed."""
    written = write_results(folder, "results", as_json(config, rows), page(config, rows), command)
    picture = folder / "speed.png"
    save_figure(draw(config, rows), picture, dpi=150)
    return [*written, picture]


def draw(config: SpeedConfig, rows: Sequence[Row]) -> Figure:
    """Images per second of each model, side by side for each batch size: the median over the turns and, as a line, its
    quartiles. Ours are blue."""
    batches = sorted({row.batch_size for row in rows})
    models = [row.model for row in rows if row.batch_size == batches[0]]
    height = 1.25 + 0.36 * len(models)
    figure = sheet(4.2 + 3.6 * len(batches), height)
    figure.suptitle(measured(config), fontsize=10, x=0.01, horizontalalignment="left")
    panels = figure.subplots(1, len(batches), sharey=True, squeeze=False)[0]
    for axes, batch in zip(panels, batches, strict=True):
        chosen = [row for row in rows if row.batch_size == batch]
        places = range(len(chosen))
        rates = [row.images_per_second for row in chosen]
        colours = [TRAIN_COLOUR if row.model.startswith("timm/") else HELD_OUT_COLOUR for row in chosen]
        axes.barh(places, rates, height=0.62, color=colours)
        for place, row in zip(places, chosen, strict=True):
            slow, fast = (batch * 1e3 / ms for ms in reversed(row.quartiles_ms))
            axes.plot([slow, fast], [place, place], color="black", linewidth=1.6, solid_capstyle="butt")
            text = f"{digits(row.images_per_second)}   {row.speedup:.2f}×"
            axes.annotate(text, (max(fast, row.images_per_second), place), (5, 0), textcoords="offset points",
                          verticalalignment="center", fontsize=8)  # fmt: skip
        axes.set_title(f"batch {batch}", fontsize=9, loc="left")
        axes.set_xlabel("images/s", fontsize=8)
        axes.set_xlim(0, 1.34 * max(rates))
        axes.set_yticks(range(len(models)), models, fontsize=8)
        axes.tick_params(labelsize=8, length=0)
        tidy(axes, "x")
    panels[0].invert_yaxis()
    return figure
