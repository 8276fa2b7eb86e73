"""The one table that `make bench` prints: a column for each size, a line for each figure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.comparisons.ways import COMPARED
from benchmarks.disk import Room
from benchmarks.loading import Load, seconds
from benchmarks.passes import Pass
from benchmarks.restatement import History
from benchmarks.side_by_side import SideBySide

# Groups of lines that the plot shows, too.
REFRESH = "Full refresh, raw tables to all marts"
SHARED = "Files to the outcome and four hourly marts"
BATCH = "A batch of 100,000 messages, and late events"
LIBRARIES = tuple(way for way in COMPARED if way != "naive")

_SECONDS = _TIMES = "{:,.2f}"
_WHOLE = "{:,.0f}"


@dataclass
class Size:
    """All that was measured at one size; what was not is missing."""

    name: str
    side_by_side: SideBySide | None = None
    loads: dict[str, list[Load]] = field(default_factory=dict)
    whole_pass: Pass | None = None
    room: Room | None = None
    history: History | None = None

    def differing(self) -> dict[str, dict[str, int]]:
        """Rows that are not the warehouse's, by way and table; empty where none was compared."""
        return self.side_by_side.differing if self.side_by_side else {}


@dataclass
class Figures:
    """All that one run of the benchmark measured.

    smallest: a pass over one message, and one over nothing new. questions: what `benchmarks.load`
    told in JSON, of the longest history.
    """

    sizes: list[Size]
    smallest: tuple[Pass, Pass] | None = None
    questions: dict[str, Any] | None = None


@dataclass(frozen=True)
class Line:
    """One figure at each size; NaN where there is none. form: how it is written."""

    group: str
    what: str
    values: tuple[float, ...]
    form: str = _SECONDS

    def written(self) -> list[str]:
        return ["-" if isnan(value) else self.form.format(value) for value in self.values]


class _Group:
    """Lines under one heading, each a figure of what was measured of each size."""

    def __init__(self, name: str, measured: Sequence[Any]) -> None:
        self._name, self._measured = name, measured
        self.lines: list[Line] = []

    def add(self, what: str, value: Callable[[Any], float], form: str = _SECONDS) -> None:
        """value: of one that was measured; where none was, or nothing of it, there is no figure."""
        values = tuple(nan if not one else value(one) for one in self._measured)
        if not all(isnan(value) for value in values):
            self.lines.append(Line(self._name, what, values, form))


def table(figures: Figures) -> Table:
    """All lines, group after group."""
    made = Table(title="Medians, in seconds unless a line says otherwise", title_justify="left")
    made.add_column("what")
    for size in figures.sizes:
        made.add_column(size.name, justify="right")
    heading = ""
    for line in lines(figures):
        if line.group != heading:
            heading = line.group
            made.add_section()
            made.add_row(f"[bold]{heading}[/bold]")
        made.add_row(f"  {line.what}", *line.written())
    return made


def lines(figures: Figures) -> list[Line]:
    """All figures that there are, in the order of the table."""
    sizes = figures.sizes
    return [
        *_loading([size.loads for size in sizes]),
        *_refresh([size.side_by_side for size in sizes]),
        *_libraries([size.side_by_side for size in sizes]),
        *_passes([size.whole_pass for size in sizes]),
        *_overhead(figures),
        *_batches([size.history for size in sizes]),
        *_questions(figures),
        *_room([size.room for size in sizes]),
    ]


def _loading(loads: Sequence[dict[str, list[Load]]]) -> list[Line]:
    group = _Group("Loading at most 1M messages and their events, into raw tables", loads)
    group.add("records", lambda of: of["parquet"][0].loaded, _WHOLE)
    group.add("Parquet", lambda of: seconds(of["parquet"]))
    group.add("JSON Lines, some records refused", lambda of: seconds(of["jsonl"]))
    group.add("records refused", lambda of: of["jsonl"][0].quarantined, _WHOLE)
    group.add(
        "JSON Lines / Parquet, times", lambda of: seconds(of["jsonl"]) / seconds(of["parquet"])
    )
    group.add(
        "peak memory, MiB", lambda of: max(one.peak for all_ in of.values() for one in all_), _WHOLE
    )
    return group.lines


def _refresh(ways: Sequence[SideBySide | None]) -> list[Line]:
    group = _Group(REFRESH, ways)
    group.add("plain scan of the files", lambda of: of.scan)
    group.add("SQL", lambda of: of.refresh)
    group.add("wall of the dbt process", lambda of: median(one.wall for one in of.refreshes))
    group.add("messages a second of SQL", lambda of: of.messages / of.refresh, _WHOLE)
    group.add("peak memory, MiB", lambda of: max(one.peak for one in of.refreshes), _WHOLE)
    group.add("SQL / scan, times", lambda of: of.refresh / of.scan, _TIMES)
    group.add("naive SQL, from files to the same marts", lambda of: of.seconds("naive"))
    group.add("naive SQL, peak memory, MiB", lambda of: of.peak("naive"), _WHOLE)
    group.add(
        "(files to raw tables + SQL) / naive SQL, times",
        lambda of: (of.reading + of.refresh) / of.seconds("naive"),
        _TIMES,
    )
    return group.lines


def _libraries(ways: Sequence[SideBySide | None]) -> list[Line]:
    group = _Group(SHARED, ways)
    group.add("msgmetrics", lambda of: of.shared_seconds)
    group.add("  of it files to raw tables", lambda of: of.reading)
    for way in LIBRARIES:
        group.add(way, lambda of, way=way: of.seconds(way))
    for way in LIBRARIES:
        group.add(
            f"{way} / msgmetrics, times",
            lambda of, way=way: of.seconds(way) / of.shared_seconds,
            _TIMES,
        )
    group.add("msgmetrics, peak memory, MiB", lambda of: of.shared_peak, _WHOLE)
    for way in LIBRARIES:
        group.add(f"{way}, peak memory, MiB", lambda of, way=way: of.peak(way), _WHOLE)
    group.add(
        "rows that differ from the warehouse's, of all ways",
        lambda of: sum(map(sum, (t.values() for t in of.differing.values()))) if of.others else nan,
        _WHOLE,
    )
    return group.lines


def _passes(passes: Sequence[Pass | None]) -> list[Line]:
    group = _Group("A whole pass over the raw tables, `msgmetrics run`", passes)
    group.add("wall", lambda of: of.wall)
    group.add("SQL of models and reference data", lambda of: of.models)
    group.add("SQL of tests", lambda of: of.tests)
    group.add("dbt apart from SQL", lambda of: of.around_dbt)
    group.add("last gate, by Great Expectations", lambda of: of.steps["gate"])
    group.add("publish", lambda of: of.steps["publish"])
    group.add("imports and Dagster", lambda of: of.around_steps)
    group.add("wall / SQL, times", lambda of: of.wall / of.sql, _TIMES)
    group.add("peak memory, MiB", lambda of: max(of.peaks.values()), _WHOLE)
    return group.lines


def _overhead(figures: Figures) -> list[Line]:
    """The same at every size, so it stands in the first column alone."""
    if figures.smallest is None:
        return []
    smallest, nothing_new = figures.smallest
    group = _Group("Fixed overhead: a pass over one message", _at(figures, 0, smallest))
    group.add("wall", lambda of: of.wall)
    group.add("imports and Dagster", lambda of: of.around_steps)
    group.add("dbt apart from SQL", lambda of: of.around_dbt)
    group.add("SQL, hardly more than making tables", lambda of: of.sql)
    group.add("load", lambda of: of.steps["load"])
    group.add("last gate, by Great Expectations", lambda of: of.steps["gate"])
    group.add("publish", lambda of: of.steps["publish"])
    group.add("wall of the next pass, which finds nothing new", lambda of: nothing_new.wall)
    return group.lines


def _batches(histories: Sequence[History | None]) -> list[Line]:
    group = _Group(BATCH, histories)
    group.add("messages touched", lambda of: median(of.touched), _WHOLE)
    group.add("SQL", lambda of: _median(batch.sql for batch in of.batches))
    group.add("wall of the dbt process", lambda of: _median(batch.wall for batch in of.batches))
    group.add("last gate", lambda of: _median(one.gate for one in of.publications))
    group.add("publish", lambda of: _median(one.publishing for one in of.publications))
    group.add(
        "SQL / SQL of the full refresh, times",
        lambda of: _median(one.sql for one in of.batches) / of.refresh.sql if of.refresh else nan,
        "{:,.3f}",
    )
    group.add("peak memory, MiB", lambda of: max(batch.peak for batch in of.batches), _WHOLE)
    return group.lines


def _questions(figures: Figures) -> list[Line]:
    """Of the longest history, so they stand in the last column alone."""
    if figures.questions is None:
        return []
    made = []
    for asked in figures.questions["rounds"]:
        clients = f"{asked['clients']} client{'s' if asked['clients'] > 1 else ''}"
        group = _Group("Questions of dashboards, ms", _at(figures, -1, asked))
        for way, shown in (("in_process", "in process"), ("over_http", "over HTTP")):
            group.add(f"{clients}, {shown}", lambda of, way=way: of[way]["p50"])
            group.add(f"{clients}, {shown}, 99th percentile", lambda of, way=way: of[way]["p99"])
            group.add(
                f"{clients}, {shown}, questions a second",
                lambda of, way=way: of[way]["per_second"],
                _WHOLE,
            )
        made += group.lines
    return made


def _room(rooms: Sequence[Room | None]) -> list[Line]:
    group = _Group("Disk, MB for each million messages", rooms)
    for file in ("files", "warehouse", "published"):
        kinds = dict.fromkeys(kind for room in rooms if room for kind in getattr(room, file))
        for kind in kinds:
            group.add(
                f"{file}: {kind}",
                lambda of, file=file, kind=kind: getattr(of, file).get(kind, 0) / of.messages,
                "{:,.1f}",
            )
    return group.lines


def _at(figures: Figures, column: int, measured: object) -> list[object]:
    """What was measured once, in one column."""
    columns: list[object] = [None] * len(figures.sizes)
    columns[column] = measured
    return columns


def _median(values: Iterable[float]) -> float:
    found = list(values)
    return median(found) if found else nan
