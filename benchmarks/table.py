"""The one table that `make bench` prints: a column for each size, a line for each figure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from statistics import median

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
BATCH = "A batch of 100,000 messages and late events upon it"
LIBRARIES = tuple(way for way in COMPARED if way != "naive")
_MIB = 2**20


@dataclass
class Size:
    """All that was measured at one size; what was not is missing."""

    name: str
    side_by_side: SideBySide | None = None
    loads: dict[str, list[Load]] = field(default_factory=dict)
    whole_pass: Pass | None = None
    room: Room | None = None
    history: History | None = None


@dataclass
class Figures:
    """All that one run of the benchmark measured.

    smallest: a pass over one message, and one over nothing new. questions: what `benchmarks.load`
    told in JSON, of the longest history.
    """

    sizes: list[Size]
    smallest: tuple[Pass, Pass] | None = None
    questions: dict | None = None


@dataclass(frozen=True)
class Line:
    """One figure at each size; NaN where there is none. form: how it is written."""

    group: str
    what: str
    values: tuple[float, ...]
    form: str = "{:,.2f}"

    def written(self) -> list[str]:
        return ["-" if isnan(value) else self.form.format(value) for value in self.values]


SECONDS, TIMES, MEBIBYTES, COUNT = "{:,.2f}", "{:,.2f}", "{:,.0f}", "{:,.0f}"


def table(figures: Figures) -> Table:
    """All lines, group after group."""
    made = Table(title="Seconds, unless a line says otherwise; medians", title_justify="left")
    made.add_column("what")
    for size in figures.sizes:
        made.add_column(size.name, justify="right")
    group = ""
    for line in lines(figures):
        if line.group != group:
            group = line.group
            made.add_section()
            made.add_row(f"[bold]{group}[/bold]")
        made.add_row(f"  {line.what}", *line.written())
    return made


def lines(figures: Figures) -> list[Line]:
    """All figures that there are, in the order of the table."""
    made = [
        *_loading(figures.sizes),
        *_refresh(figures.sizes),
        *_libraries(figures.sizes),
        *_passes(figures.sizes),
        *_overhead(figures),
        *_batches(figures.sizes),
        *_questions(figures),
        *_room(figures.sizes),
    ]
    return [line for line in made if not all(isnan(value) for value in line.values)]


def _line(
    group: str,
    what: str,
    sizes: Iterable[Size],
    value: Callable[[Size], float],
    form: str = SECONDS,
) -> Line:
    return Line(group, what, tuple(_or_nan(value, size) for size in sizes), form)


def _or_nan(value: Callable[[Size], float], size: Size) -> float:
    """What was not measured at a size is None there, and has no attributes."""
    try:
        return value(size)
    except (AttributeError, KeyError, ZeroDivisionError):
        return nan


def _loading(sizes: Sequence[Size]) -> list[Line]:
    group = "Loading, into raw tables, of at most 1M messages"

    def of(kind: str) -> Callable[[Size], float]:
        return lambda size: seconds(size.loads[kind])

    return [
        _line(group, "records", sizes, lambda s: s.loads["parquet"][0].loaded, COUNT),
        _line(group, "Parquet", sizes, of("parquet")),
        _line(group, "JSON Lines, some records refused", sizes, of("jsonl")),
        _line(group, "records refused", sizes, lambda s: s.loads["jsonl"][0].quarantined, COUNT),
        _line(group, "JSON Lines / Parquet, times", sizes, lambda s: of("jsonl")(s) / of("parquet")(s)),
        _line(
            group,
            "peak memory, MiB",
            sizes,
            lambda s: max(load.peak for kind in s.loads.values() for load in kind),
            MEBIBYTES,
        ),
    ]


def _refresh(sizes: Sequence[Size]) -> list[Line]:
    group = REFRESH

    def of(size: Size) -> SideBySide:
        return size.side_by_side

    return [
        _line(group, "plain scan of the files", sizes, lambda s: of(s).scan),
        _line(group, "SQL", sizes, lambda s: of(s).refresh),
        _line(
            group, "wall of the dbt process", sizes,
            lambda s: median(one.wall for one in of(s).refreshes),
        ),
        _line(
            group, "messages a second of SQL", sizes, lambda s: of(s).messages / of(s).refresh, COUNT
        ),
        _line(
            group, "peak memory, MiB", sizes,
            lambda s: max(one.peak for one in of(s).refreshes), MEBIBYTES,
        ),
        _line(group, "SQL / scan, times", sizes, lambda s: of(s).refresh / of(s).scan, TIMES),
        _line(group, "naive SQL, from files to the same marts", sizes, lambda s: of(s).seconds("naive")),
        _line(group, "naive SQL, peak memory, MiB", sizes, lambda s: of(s).peak("naive"), MEBIBYTES),
        _line(
            group, "(files to raw tables + SQL) / naive SQL, times", sizes,
            lambda s: (of(s).reading + of(s).refresh) / of(s).seconds("naive"), TIMES,
        ),
    ]  # fmt: skip


def _libraries(sizes: Sequence[Size]) -> list[Line]:
    group = SHARED

    def of(size: Size) -> SideBySide:
        return size.side_by_side


    def ours(size: Size) -> float:
        return median(one.seconds for one in of(size).shared)

    def our_peak(size: Size) -> float:
        return max(one.peak for one in of(size).shared)

    made = [
        _line(group, "msgmetrics", sizes, ours),
        _line(group, "  of it files to raw tables", sizes, lambda s: of(s).reading),
        *(_line(group, way, sizes, lambda s, w=way: of(s).seconds(w)) for way in LIBRARIES),
        *(
            _line(group, f"{way} / msgmetrics, times", sizes,
                  lambda s, w=way: of(s).seconds(w) / ours(s), TIMES)
            for way in LIBRARIES
        ),
        _line(group, "msgmetrics, peak memory, MiB", sizes, our_peak, MEBIBYTES),
        *(
            _line(group, f"{way}, peak memory, MiB", sizes, lambda s, w=way: of(s).peak(w), MEBIBYTES)
            for way in LIBRARIES
        ),
    ]  # fmt: skip
    compared = [_differing(size) for size in sizes]
    return [*made, Line(group, "rows that differ from the warehouse's", tuple(compared), COUNT)]


def _differing(size: Size) -> float:
    if size.side_by_side is None or not size.side_by_side.differing:
        return nan
    return sum(sum(tables.values()) for tables in size.side_by_side.differing.values())


def _passes(sizes: Sequence[Size]) -> list[Line]:
    group = "A whole pass over the raw tables, `msgmetrics run`"

    def of(size: Size) -> Pass:
        return size.whole_pass

    return [
        _line(group, "wall", sizes, lambda s: of(s).wall),
        _line(group, "SQL of models and reference data", sizes, lambda s: of(s).models),
        _line(group, "SQL of tests", sizes, lambda s: of(s).tests),
        _line(group, "dbt apart from SQL", sizes, lambda s: of(s).around_dbt),
        _line(group, "last gate, by Great Expectations", sizes, lambda s: of(s).steps["gate"]),
        _line(group, "publish", sizes, lambda s: of(s).steps["publish"]),
        _line(group, "imports and Dagster", sizes, lambda s: of(s).around_steps),
        _line(group, "wall / SQL, times", sizes, lambda s: of(s).wall / of(s).sql, TIMES),
        _line(group, "peak memory, MiB", sizes, lambda s: max(of(s).peaks.values()), MEBIBYTES),
    ]


def _overhead(figures: Figures) -> list[Line]:
    """The same at every size, so it stands in the first column alone."""
    if figures.smallest is None:
        return []
    one, nothing = figures.smallest
    group = "Fixed overhead: a pass over one message"
    values = {
        "wall": one.wall,
        "imports and Dagster": one.around_steps,
        "dbt apart from SQL": one.around_dbt,
        "SQL, nearly all of it making tables": one.sql,
        "load": one.steps["load"],
        "last gate, by Great Expectations": one.steps["gate"],
        "publish": one.steps["publish"],
        "wall of the next pass, which finds nothing new": nothing.wall,
    }
    return [_once(figures, group, what, value) for what, value in values.items()]


def _once(figures: Figures, group: str, what: str, value: float, form: str = SECONDS) -> Line:
    return Line(group, what, (value, *[nan] * (len(figures.sizes) - 1)), form)


def _batches(sizes: Sequence[Size]) -> list[Line]:
    group = BATCH

    def of(value: Callable[[History], float]) -> Callable[[Size], float]:
        return lambda size: value(size.history)

    def sql(history: History) -> float:
        return median(batch.sql for batch in history.batches)

    return [
        _line(group, "messages touched", sizes, of(lambda h: median(h.touched)), COUNT),
        _line(group, "SQL", sizes, of(sql)),
        _line(group, "wall of the dbt process", sizes, of(lambda h: median(b.wall for b in h.batches))),
        _line(group, "last gate", sizes, of(lambda h: _median(p.gate for p in h.publications))),
        _line(group, "publish", sizes, of(lambda h: _median(p.publishing for p in h.publications))),
        _line(group, "SQL of the batch / of the full refresh, times", sizes,
              of(lambda h: sql(h) / h.refresh.sql), "{:,.3f}"),
        _line(group, "peak memory, MiB", sizes, of(lambda h: max(b.peak for b in h.batches)), MEBIBYTES),
    ]  # fmt: skip


def _median(values: Iterable[float]) -> float:
    found = list(values)
    return median(found) if found else nan


def _questions(figures: Figures) -> list[Line]:
    """Of the longest history, so they stand in the last column alone."""
    if figures.questions is None:
        return []
    made = []
    for one in figures.questions["rounds"]:
        group = "Questions of dashboards, medians in ms"
        clients = f"{one['clients']} client{'s' if one['clients'] > 1 else ''}"
        for way, asked in (("in process", one["in_process"]), ("over HTTP", one["over_http"])):
            made += [
                _at_last(figures, group, f"{clients}, {way}", asked["p50"]),
                _at_last(figures, group, f"{clients}, {way}, 99th percentile", asked["p99"]),
                _at_last(figures, group, f"{clients}, {way}, a second", asked["per_second"]),
            ]
    return made


def _at_last(figures: Figures, group: str, what: str, value: float) -> Line:
    return Line(group, what, (*[nan] * (len(figures.sizes) - 1), value), "{:,.1f}")


def _room(sizes: Sequence[Size]) -> list[Line]:
    group = "Disk, MiB for each million messages"
    made = []
    for file in ("files", "warehouse", "published"):
        kinds = dict.fromkeys(
            kind for size in sizes if size.room for kind in getattr(size.room, file)
        )
        made += [
            _line(
                group, f"{file}: {kind}", sizes,
                lambda s, f=file, k=kind: getattr(s.room, f)[k] / _MIB / (s.room.messages / 1e6),
                "{:,.1f}",
            )
            for kind in kinds
        ]  # fmt: skip
    return made
