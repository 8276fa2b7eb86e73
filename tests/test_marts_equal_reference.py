"""Every mart, built by the project's own SQL from landing files, equals the reference.

Each warehouse holds hundreds of small hostile record sets side by side, which share no id. Every
key and every column of every mart is compared to the last digit. Of a set that differs the failure
shows the smallest part that still does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import duckdb
import pytest
from hostile import NOW, RecordSet, drawn, every_bound, every_tie, number_of, side_by_side
from landing_files import write_landing
from reference.marts import KEYS, MART_NAMES, URL_MEASURES
from reference.metrics import METRICS
from reference.outcomes import MEASURES
from reference.records import Refusal, parse_account, parse_event, parse_message
from small_warehouse import (
    Difference,
    build,
    differences,
    empty_warehouse,
    expected_marts,
    key_column,
    load,
    table_names,
)

SETS = 400
BATCHES = {
    "every bound and tie": lambda: every_bound() + every_tie(),
    **{f"random {seed}": lambda seed=seed: drawn(SETS, seed) for seed in range(1, 5)},
}


@pytest.fixture(scope="module", params=BATCHES)
def sets(request: pytest.FixtureRequest) -> list[RecordSet]:
    return BATCHES[request.param]()


@pytest.fixture(scope="module")
def warehouse(sets: list[RecordSet]) -> Iterator[duckdb.DuckDBPyConnection]:
    records = side_by_side(sets)
    with built_warehouse(records, seed=len(records)) as connection:
        yield connection


@contextmanager
def built_warehouse(records: RecordSet, seed: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse of these records, spread over files in one of many ways."""
    with TemporaryDirectory() as folder, empty_warehouse() as connection:
        landing = Path(folder) / "landing"
        write_landing(landing, records, Random(seed), most_files=12)
        report = load(connection, landing)
        assert sum(stream.loaded for stream in report.streams.values()) == len(records)
        build(connection)
        yield connection


def test_every_mart_equals_the_reference(
    sets: list[RecordSet], warehouse: duckdb.DuckDBPyConnection
) -> None:
    found = list(differences(warehouse, expected_marts(side_by_side(sets))))
    if found:
        broken = min({_set_of(difference) for difference in found})
        pytest.fail(_explained(_smallest(sets[broken]), len({_set_of(one) for one in found})))


def test_the_marts_are_those_of_the_catalogue(
    sets: list[RecordSet], warehouse: duckdb.DuckDBPyConnection
) -> None:
    expected = expected_marts(side_by_side(sets[:1]))
    assert set(table_names(warehouse, "marts")) == set(expected)
    assert set(MART_NAMES) < set(expected)
    for name, mart in expected.items():
        types = {
            column: type_
            for column, type_, *_ in warehouse.execute(f"describe marts.{name}").fetchall()
        }
        assert set(types) == {*mart.key_columns, *mart.value_columns}, name
        if name in ("messages", "url_clicks"):  # one message's measures need no wide types
            continue
        for column in mart.value_columns:
            assert types[column] == _type_of(column), (name, column)


def _type_of(column: str) -> str:
    if column.upper() in METRICS and METRICS[column.upper()].is_rate:
        return "DOUBLE"
    if "cost_cents" in column:
        return "DECIMAL(38,6)"
    return "BIGINT" if column in MEASURES or column.upper() in METRICS else "VARCHAR"


# ------------------------------------------------------------------------- marts among them


def _sums(
    connection: duckdb.DuckDBPyConnection, mart: str, start: str, measures: Sequence[str]
) -> list[tuple]:
    """Measures of any mart by period, account and channel."""
    summed = ", ".join(f"sum({measure})::decimal(38, 6)" for measure in measures)
    return connection.execute(
        f"select {start}, account_key, channel_code, {summed} from marts.{mart} "
        "group by all order by all"
    ).fetchall()


@pytest.mark.parametrize(("period", "grain"), [("hour", "hourly"), ("day", "daily")])
def test_all_marts_of_a_grain_have_the_totals_of_the_messages(
    warehouse: duckdb.DuckDBPyConnection, period: str, grain: str
) -> None:
    messages = _sums(warehouse, "messages", f"date_trunc('{period}', sent_at)", MEASURES)
    clicks = _sums(warehouse, "url_clicks", f"date_trunc('{period}', sent_at)", URL_MEASURES)
    minutes = _sums(warehouse, "minutely", f"date_trunc('{period}', period_start)", MEASURES)
    assert minutes == messages
    for dimension in KEYS:
        mart = f"{grain}_by_{dimension}"
        if dimension == "url":
            assert _sums(warehouse, mart, "period_start", URL_MEASURES) == clicks
        else:
            assert _sums(warehouse, mart, "period_start", MEASURES) == messages, mart


def test_a_day_is_the_sum_of_its_hours(warehouse: duckdb.DuckDBPyConnection) -> None:
    for dimension in KEYS:
        key = "" if dimension in ("account", "channel") else f", {key_column(dimension)}"
        measures = ", ".join(
            f"sum({measure})" for measure in (URL_MEASURES if dimension == "url" else MEASURES)
        )
        daily, hourly = (
            warehouse.execute(
                f"select date_trunc('day', period_start), account_key, channel_code{key}, "
                f"{measures} from marts.{grain}_by_{dimension} group by all order by all"
            ).fetchall()
            for grain in ("daily", "hourly")
        )
        assert daily == hourly, dimension


def test_urls_count_the_clicks_of_the_messages(warehouse: duckdb.DuckDBPyConnection) -> None:
    by_message = warehouse.execute(
        "select message_id, account_key, channel_code, sent_at, sum(clicked_messages), sum(clicks) "
        "from marts.url_clicks group by all order by all"
    ).fetchall()
    assert (
        by_message
        == warehouse.execute(
            "select message_id, account_key, channel_code, sent_at, distinct_urls, clicks "
            "from marts.messages where clicked_messages > 0 order by all"
        ).fetchall()
    )


# ------------------------------------------------------------------------------ a failure


def _set_of(difference: Difference) -> int:
    of_message = difference.mart in ("messages", "url_clicks", "accounts")
    return number_of(str(difference.key[0 if of_message else 1]))


def _found_in(sets: Sequence[RecordSet]) -> dict[int, list[Difference]]:
    """Differences by the set that has them."""
    records = side_by_side(sets)
    found: dict[int, list[Difference]] = {}
    with built_warehouse(records, seed=0) as connection:
        for difference in differences(connection, expected_marts(records)):
            found.setdefault(_set_of(difference), []).append(difference)
    return found


def _smallest(record_set: RecordSet) -> RecordSet:
    """A part of the set that still differs and has no part that does.

    All parts of a set are tried at once, side by side in one warehouse.
    """
    while True:
        parts = list(_parts(record_set))
        broken = _found_in(parts)
        if not broken:
            return record_set
        record_set = min((parts[number] for number in broken), key=lambda part: len(repr(part)))


def _parts(record_set: RecordSet) -> Iterator[RecordSet]:
    """The set without some of its records, and without one field of one of them."""
    for stream, records in record_set.streams():
        size = len(records)
        while size:
            for start in range(0, len(records), size):
                yield replace(record_set, **{stream: records[:start] + records[start + size :]})
            size //= 2
        for at, record in enumerate(records):
            for name in record:
                less = {field: value for field, value in record.items() if field != name}
                if not isinstance(_PARSERS[stream](less, now=NOW), Refusal):
                    changed = (*records[:at], less, *records[at + 1 :])
                    yield replace(record_set, **{stream: changed})


_PARSERS = {"messages": parse_message, "events": parse_event, "accounts": parse_account}


def _explained(record_set: RecordSet, sets: int) -> str:
    lines = [f"{sets} record sets differ. The smallest part of the first one that differs:"]
    for stream, records in record_set.streams():
        lines += [f"  {stream}: {record}" for record in records]
    for difference in _found_in([record_set]).get(0, [])[:6]:
        lines.append(f"{difference.mart} {difference.key}")
        lines += [f"  warehouse: {difference.warehouse}", f"  reference: {difference.reference}"]
    return "\n".join(lines)
