"""The last gate: silent on true data, and each of its rules fires on what it is there for."""

from collections.abc import Iterator

import duckdb
import pandas as pd
import pytest
from dbt_project.small_world import built_warehouse

from msgmetrics.catalogue import catalogue
from orchestration.checks import expectations
from orchestration.checks.expectations import BrokenCheckError, bounds_of_metrics, judge_metrics


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    with built_warehouse() as connection:
        yield connection


@pytest.fixture
def bounds(warehouse: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    return bounds_of_metrics(warehouse, catalogue())


def test_true_data_passes_and_every_mart_and_metric_is_looked_at(bounds: pd.DataFrame) -> None:
    assert judge_metrics(bounds).passed
    assert len(bounds) == 2 * (22 * len(catalogue().metrics) + 3)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("total_sent_traffic_count", "-1", "no metric is negative"),
        ("traffic_delivery_rate", "1.25", "rates that cannot exceed 1 do not"),
        ("traffic_delivery_rate", "'nan'::double", "no metric is NaN or infinite"),
        ("total_click_rate", "'infinity'::double", "no metric is NaN or infinite"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_mart(
    warehouse: duckdb.DuckDBPyConnection, column: str, value: str, rule: str
) -> None:
    warehouse.execute("begin")
    try:
        warehouse.execute(f"update marts.hourly_by_sender set {column} = {value}")
        verdict = judge_metrics(bounds_of_metrics(warehouse, catalogue()))
    finally:
        warehouse.execute("rollback")
    assert verdict.broken_rules == (rule,)
    assert [(row["mart"], row["metric"]) for row in verdict.rows] == [
        ("hourly_by_sender", column.upper())
    ]


def test_engagement_above_one_is_true_data(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute("begin")
    try:
        warehouse.execute("update marts.hourly_by_sender set total_click_rate = 4")
        assert judge_metrics(bounds_of_metrics(warehouse, catalogue())).passed
    finally:
        warehouse.execute("rollback")


def test_a_metric_that_a_mart_lacks_is_named(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute("begin")
    try:
        warehouse.execute("alter table marts.daily_by_status drop column total_bounce_rate")
        verdict = judge_metrics(bounds_of_metrics(warehouse, catalogue()))
    finally:
        warehouse.execute("rollback")
    assert verdict.broken_rules == ("every metric is in every mart that should have it",)
    assert [(row["mart"], row["metric"]) for row in verdict.rows] == [
        ("daily_by_status", "TOTAL_BOUNCE_RATE")
    ]


def test_an_expectation_that_cannot_be_evaluated_is_a_broken_check_not_bad_data(
    bounds: pd.DataFrame,
) -> None:
    with pytest.raises(BrokenCheckError):
        judge_metrics(bounds.assign(lowest="none"))
    assert expectations._raised({"raised_exception": True})
    assert not expectations._raised({"raised_exception": False})
