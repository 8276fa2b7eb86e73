"""The last gate: silent on true data; each of its checks fires on what it is there for, says which
rows, and says so where it is itself what is broken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from dbt_project.small_world import built_warehouse

from msgmetrics.catalogue import catalogue
from msgmetrics.published_tables import marts
from msgmetrics.settings import Settings
from orchestration.checks import published as gate
from orchestration.checks.expectations import Judge, Verdict, _raised, between
from orchestration.checks.frames import Scope, Seen, bounds_of_metrics, every_row

NOW = datetime(2026, 5, 7, tzinfo=UTC)
EVERYTHING = Scope(None)


@pytest.fixture(scope="module")
def built() -> Iterator[duckdb.DuckDBPyConnection]:
    with built_warehouse() as connection:
        connection.execute(
            "insert into raw.files by name select 1 as file_id, stream, stream as path, 1 as size, "
            "1 as modified_ns, 1 as inode, 'x' as content_hash, date '2026-05-06' as landing_day, "
            "1 as batch_id, 'loaded' as status, 1000 as records, 1000 as loaded, 0 as quarantined, "
            "timestamp '2026-05-06' as loaded_at "
            "from (values (1, 'messages')) as files (file_id, stream)"
        )
        connection.execute(
            "insert into raw.files by name select * replace (2 as file_id, 'events' as stream) "
            "from raw.files"
        )
        yield connection


@pytest.fixture
def warehouse(built: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse, as it was after each test."""
    built.execute("begin")
    yield built
    built.execute("rollback")


def judged(
    connection: duckdb.DuckDBPyConnection, *, now: datetime = NOW, report: Path | None = None
) -> dict[str, Verdict]:
    """Every check's verdict on every row of the warehouse."""
    look = gate.Look(connection, Settings(), EVERYTHING, now, NOW)
    return {check.name: verdict for check, verdict in gate.evaluate(look, report)}


def test_true_data_passes_and_the_report_names_every_check_and_no_end_user(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    verdicts = judged(warehouse, report=tmp_path)
    assert [name for name, verdict in verdicts.items() if not verdict.passed] == []
    pages = {path: path.read_text("utf-8") for path in tmp_path.rglob("*.html")}
    assert tmp_path / "index.html" in pages
    for check in gate.CHECKS:
        assert any(check.name in page for page in pages.values()), check.name
    for page in pages.values():
        assert not re.search(r"user\.example|38591", page)


def test_every_check_says_whether_it_blocks() -> None:
    specs = {spec.name: spec for spec in gate.gate.check_specs}
    assert list(specs) == [check.name for check in gate.CHECKS]
    for check in gate.CHECKS:
        spec = specs[check.name]
        assert spec.blocking == check.blocks
        assert spec.description.startswith("Error: " if check.blocks else "Warning: ")


def test_every_mart_and_metric_is_looked_at(warehouse: duckdb.DuckDBPyConnection) -> None:
    bounds = bounds_of_metrics(warehouse, every_row(warehouse, NOW))
    assert len(bounds) == 2 * (22 * len(catalogue().metrics) + 3)


@pytest.mark.parametrize(
    ("column", "value", "rule", "shown"),
    [
        ("total_sent_traffic_count", "-1", "no metric is negative", "-1"),
        ("traffic_delivery_rate", "1.25", "rates that cannot exceed 1 do not", "1.25"),
        ("traffic_delivery_rate", "'nan'::double", "no metric is NaN or infinite", "nan"),
        ("total_click_rate", "'infinity'::double", "no metric is NaN or infinite", "inf"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_its_row(
    warehouse: duckdb.DuckDBPyConnection, column: str, value: str, rule: str, shown: str
) -> None:
    hour = "timestamp '2026-05-05 23:00:00'"
    warehouse.execute(
        f"update marts.hourly_by_sender set {column} = {value} where period_start = {hour}"
    )
    verdict = judged(warehouse)[gate.GATE]
    assert verdict.broken_rules == (rule,)
    (row,) = verdict.rows
    assert (row["mart"], row["metric"], row["value"]) == ("hourly_by_sender", column.upper(), shown)
    assert (str(row["period_start"]), row["account_key"]) == ("2026-05-05 23:00:00", "shop")


def test_a_value_that_cannot_be_is_told_of_the_rows_that_are_written(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    mart = marts()["daily_by_channel"]
    seen = Seen(warehouse, NOW)
    for row in ("*", "* replace (-1 as messages_in)", "* replace (messages_out + 5 as delivered)"):
        seen.look(
            warehouse, mart, f"(select {row} from marts.daily_by_channel where messages_out > 0)"
        )
    look = gate.Look(warehouse, Settings(), EVERYTHING, NOW, NOW, seen)
    verdict = {check.name: found for check, found in gate.evaluate(look)}[gate.GATE]
    assert set(verdict.broken_rules) == {
        "no metric is negative",
        "rates that cannot exceed 1 do not",
    }
    told = {(row["mart"], row["metric"]) for row in verdict.rows}
    for name in ("daily_by_channel", "daily_by_account"):
        assert {(name, "TOTAL_RECEIVED_TRAFFIC_COUNT"), (name, "TRAFFIC_DELIVERY_RATE")} <= told
    assert all(row["account_key"] and row["period_start"] for row in verdict.rows)


def test_an_hour_ahead_is_told_of_the_rows_that_are_written(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    early = datetime(2026, 5, 4, 22, 30, tzinfo=UTC)
    seen = Seen(warehouse, early)
    seen.look(warehouse, marts()["hourly_by_channel"], "marts.hourly_by_channel")
    look = gate.Look(warehouse, Settings(), EVERYTHING, early, NOW, seen)
    verdicts = {check.name: found for check, found in gate.evaluate(look)}
    assert verdicts["hours_are_not_ahead"] == judged(warehouse, now=early)["hours_are_not_ahead"]
    assert not verdicts["hours_are_not_ahead"].passed


def test_engagement_above_one_is_true_data(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute("update marts.hourly_by_sender set total_click_rate = 4")
    assert judged(warehouse)[gate.GATE].passed


def test_a_metric_that_a_mart_lacks_is_named(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute("alter table marts.daily_by_status drop column total_bounce_rate")
    verdict = judged(warehouse)[gate.GATE]
    assert verdict.broken_rules == ("every metric is in every mart that should have it",)
    assert [(row["mart"], row["metric"]) for row in verdict.rows] == [
        ("daily_by_status", "TOTAL_BOUNCE_RATE")
    ]


@pytest.mark.parametrize(
    "mart", ["hourly_by_country", "daily_by_channel", "daily_by_url", "minutely"]
)
def test_a_mart_that_lost_a_row_is_told_with_period_account_and_channel(
    warehouse: duckdb.DuckDBPyConnection, mart: str
) -> None:
    warehouse.execute(f"delete from marts.{mart} where channel_code = 'EMAIL'")
    verdict = judged(warehouse)["marts_agree_with_the_messages"]
    assert not verdict.passed
    assert {(row["mart"], row["channel_code"]) for row in verdict.rows} == {(mart, "EMAIL")}
    assert all(row["account_key"] == "shop" for row in verdict.rows)


def test_an_hour_more_than_a_day_ahead_is_told(warehouse: duckdb.DuckDBPyConnection) -> None:
    early = datetime(2026, 5, 4, 22, 30, tzinfo=UTC)
    verdict = judged(warehouse, now=early)["hours_are_not_ahead"]
    assert {row["period_start"] for row in verdict.rows} == {
        "2026-05-05 23:00:00",
        "2026-05-06 00:00:00",
    }
    assert judged(warehouse, now=datetime(2026, 5, 5, tzinfo=UTC))["hours_are_not_ahead"].passed


def _with_earlier_weeks(warehouse: duckdb.DuckDBPyConnection, messages: int, weeks: int) -> None:
    warehouse.execute(
        "insert into marts.hourly_by_channel by name "
        "select * exclude (week) replace (period_start - week * interval 7 day as period_start, "
        f"{messages} as messages_out, 0 as messages_in) from marts.hourly_by_channel "
        f"cross join (select unnest(generate_series(1, {weeks})) as week) "
        "where channel_code = 'SMS' and period_start = timestamp '2026-05-06 00:00:00'"
    )


@pytest.mark.parametrize(
    ("messages", "weeks", "passes"), [(1000, 3, False), (40, 3, True), (1000, 1, True)]
)
def test_an_hour_with_few_of_its_usual_messages_is_told(
    warehouse: duckdb.DuckDBPyConnection, messages: int, weeks: int, passes: bool
) -> None:
    _with_earlier_weeks(warehouse, messages, weeks)
    verdict = judged(warehouse)["volumes_are_usual"]
    assert verdict.passed == passes and verdict.broken is None
    if not passes:
        (row,) = verdict.rows
        assert (row["period_start"], row["channel_code"]) == ("2026-05-06 00:00:00", "SMS")
        assert (row["messages"], row["usual"]) == (1, messages)


def test_old_data_and_none_at_all_are_told(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute("delete from marts.messages where sent_at > '2026-05-05 12:00:00'")
    (row,) = judged(warehouse)["data_is_fresh"].rows
    assert row["newest_message"] == "2026-05-05 10:46:00"
    warehouse.execute("delete from marts.messages")
    verdict = judged(warehouse)["data_is_fresh"]
    assert verdict.broken is None and len(verdict.rows) == 1


def test_many_waiting_events_are_told(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute("update facts.waiting_events set events = 51")
    (row,) = judged(warehouse)["few_events_wait"].rows
    assert (row["stream"], row["waiting"]) == ("events", 51)


def test_a_large_share_in_quarantine_is_told(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute(
        "insert into raw.quarantine by name select n as quarantine_id, 1 as file_id, "
        "'messages' as stream, 'a' as path, n as row_number, 'not valid' as reason, 1 as batch_id, "
        "timestamp '2026-05-06' as quarantined_at from range(11) as numbers (n)"
    )
    (row,) = judged(warehouse)["few_records_are_refused"].rows
    assert (row["stream"], row["refused"]) == ("messages", 11)


def test_an_expectation_that_cannot_be_evaluated_is_a_broken_check_not_bad_data() -> None:
    frame = pd.DataFrame({"lowest": ["none"]})
    verdict = Judge().judge("a_check", frame, {"no metric is negative": between("lowest", 0)})
    assert not verdict.passed and verdict.broken_rules == ()
    assert verdict.broken == "the rule that no metric is negative could not be evaluated"
    assert _raised({"raised_exception": True}) and not _raised({"raised_exception": False})


def test_a_check_that_fails_by_itself_is_broken_and_the_others_are_made(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    warehouse.execute("drop table raw.quarantine")
    verdicts = judged(warehouse)
    assert {name for name, verdict in verdicts.items() if verdict.broken} == {
        "few_events_wait",
        "few_records_are_refused",
    }
