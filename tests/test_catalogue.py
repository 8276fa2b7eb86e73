"""The catalogue and the warehouse say the same: every entry is built, and nothing else is."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from dbt_project.small_world import built_warehouse

from msgmetrics.catalogue import catalogue

MARTS = Path(__file__).parents[1] / "dbt_project" / "models" / "marts"


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    with built_warehouse() as connection:
        yield connection


def columns(warehouse: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    described = warehouse.execute(f"describe marts.{table}").fetchall()
    return {name: type_.lower().replace(",", ", ") for name, type_, *_ in described}


def test_there_is_a_mart_for_every_dimension_and_no_other() -> None:
    for grain in ("hourly", "daily"):
        files = {path.stem for path in (MARTS / grain).glob("*.sql")}
        assert files == {f"{grain}_by_{mart}" for mart in catalogue().marts}


@pytest.mark.parametrize("grain", ["hourly", "daily"])
@pytest.mark.parametrize("mart", catalogue().marts)
def test_a_mart_has_just_the_columns_of_the_catalogue(
    warehouse: duckdb.DuckDBPyConnection, grain: str, mart: str
) -> None:
    known = catalogue()
    expected = {"period_start": "timestamp", "account_key": "varchar", "channel_code": "varchar"}
    expected |= {d.column: d.type for d in known.dimensions.values() if d.mart == mart}
    measures = [m for m in known.measures.values() if m.from_url or mart != "url"]
    expected |= {m.name: m.type for m in measures}
    metrics = [m for m in known.metrics.values() if m.url or mart != "url"]
    found = columns(warehouse, f"{grain}_by_{mart}")
    for metric in metrics:
        numerators = metric.url if mart == "url" else metric.numerator
        exact = known.measures[numerators[0]].type
        expected[metric.column] = "double" if metric.is_rate else exact
    # the sum of two decimals needs no more room in truth, but its type cannot say so
    found = {k: "decimal(38, 6)" if v.startswith("decimal") else v for k, v in found.items()}
    assert found == expected


def test_every_measure_is_a_column_of_the_facts(warehouse: duckdb.DuckDBPyConnection) -> None:
    assert set(catalogue().measures) <= set(columns(warehouse, "messages"))


def test_there_are_the_33_metrics_of_the_source_and_two_of_ours() -> None:
    known = catalogue().metrics
    assert len(known) == 35 and {"TOTAL_ACCEPTED_TRAFFIC_COUNT", "TOTAL_COST_CENTS"} <= set(known)


def test_a_rate_is_made_of_known_measures_and_divides_counts_of_the_same_channels() -> None:
    known = catalogue()
    for metric in known.metrics.values():
        assert set(metric.numerator + metric.denominator + metric.url) <= set(known.measures)
        assert set(metric.channels) <= set(known.channels)
        assert metric.is_additive is not metric.is_rate
        assert not metric.bounded or metric.is_rate
