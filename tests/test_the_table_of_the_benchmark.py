"""What `make bench` makes of its figures: one table, and a plot of the comparisons."""

from __future__ import annotations

import math
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from benchmarks.builds import Build
from benchmarks.comparisons.ways import COMPARED, Taken
from benchmarks.disk import Room
from benchmarks.loading import Load
from benchmarks.passes import Pass
from benchmarks.plot import write_plot
from benchmarks.publications import Publication
from benchmarks.restatement import History
from benchmarks.side_by_side import Shared, SideBySide
from benchmarks.table import BATCH, REFRESH, SHARED, Figures, Size, lines, table


def _build(seconds: float) -> Build:
    return Build({"compute": seconds}, {}, wall=seconds + 9, peak=400)


@pytest.fixture
def figures(tmp_path: Path) -> Figures:
    """Of one size all was measured, but that pandas did not fit; of the other nothing was."""
    ways = SideBySide(1_000_000, tmp_path)
    ways.scans = [Taken(0.2, 50), Taken(0.3, 50), Taken(0.9, 50)]
    ways.refreshes = [_build(6.0), _build(7.0), _build(5.0)]
    ways.shared = [Shared(Taken(1.0, 900), _build(3.0))]
    ways.others = {way: [Taken(14.0, 2000), Taken(10.0, 3000)] for way in COMPARED}
    ways.others["pandas"] = [Taken(failure="more than 19 GiB")]
    ways.differing = {"naive": {"messages": 0}, "polars": {"messages": 0}, "chdb": {"messages": 2}}
    full = Size(
        "1M",
        ways,
        {kind: [Load(kind, s, 1000, 3, 10, 200)] for kind, s in (("parquet", 4), ("jsonl", 10))},
        _pass(60.0),
        Room(1_000_000, {"Parquet of events": 50_000_000}, {"raw.events": 90_000_000}, {}),
        History(1_000_000, tmp_path, refresh=_build(6.0)),
    )
    full.history.batches += [_build(0.5), _build(0.7), _build(0.6)]
    full.history.touched += [100_100, 100_300, 100_200]
    full.history.publications += [Publication(gate=0.2, publishing=0.3)]
    asked = {"p50": 8.0, "p99": 30.0, "per_second": 120.0}
    rounds = [{"clients": clients, "in_process": asked, "over_http": asked} for clients in (1, 8)]
    return Figures([full, Size("10M")], (_pass(50.0), _pass(45.0)), {"rounds": rounds})


def _pass(wall: float) -> Pass:
    steps = {"load": 1.0, "build": 30.0, "gate": 4.0, "publish": 5.0}
    return Pass(
        wall, steps, 8.0, {"dbt build": 900}, {"fct_messages": 7.0, "daily_by_channel": 3.0}
    )


def _value(figures: Figures, group: str, what: str) -> float:
    (line,) = (line for line in lines(figures) if (line.group, line.what) == (group, what))
    assert math.isnan(line.values[1]), "nothing was measured there"
    return line.values[0]


def test_a_figure_is_the_median_of_its_turns(figures: Figures) -> None:
    assert _value(figures, REFRESH, "plain scan of the files") == 0.3
    assert _value(figures, REFRESH, "SQL") == 6.0
    assert _value(figures, REFRESH, "SQL / scan, times") == 20.0
    assert _value(figures, SHARED, "polars") == 12.0


def test_the_naive_sql_is_held_against_all_that_we_do_from_files_on(figures: Figures) -> None:
    ratio = _value(figures, REFRESH, "(files to raw tables + SQL) / naive SQL, times")
    assert ratio == pytest.approx((1.0 + 6.0) / 12.0)


def test_memory_is_the_most_of_all_turns(figures: Figures) -> None:
    assert _value(figures, SHARED, "polars, peak memory, MiB") == 3000
    assert _value(figures, SHARED, "msgmetrics, peak memory, MiB") == 900


def test_a_way_that_failed_has_no_line_and_a_sentence(figures: Figures) -> None:
    assert "pandas" not in {line.what for line in lines(figures)}
    assert figures.sizes[0].side_by_side.failures() == [
        "pandas at 1M: more than 19 GiB",
        "chdb at 1M has other rows than the warehouse: messages (2)",
    ]


def test_a_pass_is_split_without_a_rest(figures: Figures) -> None:
    group = "A whole pass over the raw tables, `msgmetrics run`"
    of_build = ("SQL of models and reference data", "SQL of tests", "dbt apart from SQL")
    others = ("last gate, by Great Expectations", "publish", "imports and Dagster")
    parts = sum(_value(figures, group, what) for what in of_build + others)
    assert parts + 1.0 == _value(figures, group, "wall"), "but for a second of loading"


def test_the_table_has_a_column_for_each_size_and_all_lines(figures: Figures) -> None:
    file = StringIO()
    Console(width=110, file=file).print(table(figures))
    written = file.getvalue()
    assert [title in written for title in ("1M", "10M", REFRESH, SHARED, BATCH)] == [True] * 5
    assert all(line.what in written for line in lines(figures))


def test_a_batch_is_held_against_the_full_refresh(figures: Figures) -> None:
    assert _value(figures, BATCH, "SQL / SQL of the full refresh, times") == pytest.approx(0.1)
    assert _value(figures, BATCH, "messages touched") == 100_200


def test_disk_is_told_for_each_million_messages(figures: Figures) -> None:
    assert _value(figures, "Disk, MB for each million messages", "warehouse: raw.events") == 90


def test_what_was_asked_of_the_longest_history_stands_in_the_last_column(figures: Figures) -> None:
    asked = [line for line in lines(figures) if line.group == "Questions of dashboards, ms"]
    assert [line.what for line in asked][3:5] == [
        "1 client, over HTTP",
        "1 client, over HTTP, 99th percentile",
    ]
    assert all(math.isnan(line.values[0]) for line in asked)
    assert asked[3].values[1] == 8.0


def test_nothing_measured_is_a_table_without_lines() -> None:
    assert lines(Figures([Size("1M")])) == []


def test_the_plot_shows_the_same_figures(figures: Figures, tmp_path: Path) -> None:
    for number in (1, 2):
        write_plot(figures, tmp_path / f"{number}.svg")
    drawn = (tmp_path / "1.svg").read_text("utf-8")
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert drawn == (tmp_path / "2.svg").read_text("utf-8")
    assert "<!-- naive SQL, 1M -->" in drawn
    assert "pandas, 1M" not in drawn
