"""The comparisons of the table as a picture: time and memory beside the other ways."""

from math import isnan
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.table import BATCH, LIBRARIES, REFRESH, SHARED, Figures, Line, lines

_OURS, _OTHERS, _LEAST = "#2a6f97", "#b8c4cc", "#7a8b99"


def write_plot(figures: Figures, path: Path) -> None:
    """Writes the plot in the format of the file's ending; the same figures make the same file."""
    matplotlib.rcParams["svg.hashsalt"] = "msgmetrics"
    made = lines(figures)
    picture = Figure(figsize=(10, 7), layout="constrained")
    time, shared, memory, batch = picture.subplots(2, 2).flat
    names = [size.name for size in figures.sizes]
    everything = {
        "plain scan": "plain scan of the files",
        "msgmetrics": "SQL",
        "naive SQL": "naive SQL, from files to the same marts",
    }
    libraries = {name: name for name in ("msgmetrics", *LIBRARIES)}
    peaks = {name: f"{name}, peak memory, MiB" for name in libraries}
    steps = {name: name for name in ("SQL", "last gate", "publish")}
    for axes, title, group, wanted in (
        (time, "All marts, seconds", REFRESH, everything),
        (shared, "Outcome and four hourly marts, seconds", SHARED, libraries),
        (memory, "The same, peak memory, MiB", SHARED, peaks),
        (batch, "A batch of 100,000 messages, seconds", BATCH, steps),
    ):
        of_group = {line.what: line for line in made if line.group == group}
        found = {name: of_group[what] for name, what in wanted.items() if what in of_group}
        _bars(axes, title, names, found)
    picture.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _bars(axes: Axes, title: str, sizes: list[str], shown: dict[str, Line]) -> None:
    """A group of bars for each size; what has no figure has no bar."""
    axes.set_title(title)
    places, ticks, at = [], [], 0.0
    for number, size in enumerate(sizes):
        for name, line in shown.items():
            value = line.values[number]
            if not isnan(value):
                bar = axes.barh(at, value, color=_colour(name))
                axes.bar_label(bar, labels=[f"{value:,.1f}"], padding=3, fontsize=8)
                places.append(at)
                ticks.append(f"{name}, {size}")
                at += 1
        at += 0.5
    axes.set_yticks(places, ticks, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)


def _colour(name: str) -> str:
    if name == "plain scan":
        return _LEAST
    return _OURS if name in ("msgmetrics", "SQL", "last gate", "publish") else _OTHERS
