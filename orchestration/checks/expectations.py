"""Great Expectations over small pandas frames; the only module that knows it.

A frame says, a row for each mart and metric, within which bounds the mart's values lie; an
expectation says within which they may. A broken expectation is a broken check, never bad data.
"""

import math
import os
from dataclasses import dataclass
from typing import Any

import duckdb
import pandas as pd

from msgmetrics.catalogue import Catalogue, Metric


class BrokenCheckError(Exception):
    """An expectation that could not be evaluated; it says nothing about the data."""


@dataclass(frozen=True)
class Verdict:
    """What a suite found: the sentences that do not hold, and the rows in which they do not."""

    broken_rules: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]

    @property
    def passed(self) -> bool:
        return not self.broken_rules


def bounds_of_metrics(
    connection: duckdb.DuckDBPyConnection, known: Catalogue, schema: str = "marts"
) -> pd.DataFrame:
    """One row per mart and metric that it should have.

    Columns: mart, metric, is_present, is_bounded (may not exceed 1), lowest, highest (null where
    the mart has no value of it) and not_finite (how many of the two are NaN or infinite).
    """
    rows = []
    for grain in ("hourly", "daily"):
        for mart in known.marts:
            name = f"{grain}_by_{mart}"
            present = _columns(connection, schema, name)
            metrics = [m for m in known.metrics.values() if m.url or mart != "url"]
            measured = _measured(
                connection, schema, name, [m for m in metrics if m.column in present]
            )
            for metric in metrics:
                lowest, highest, not_finite = measured.get(metric.name, (None, None, 0))
                rows.append(
                    {
                        "mart": name,
                        "metric": metric.name,
                        "is_present": metric.column in present,
                        "is_bounded": metric.bounded,
                        "lowest": lowest,
                        "highest": highest,
                        "not_finite": not_finite,
                    }
                )
    frame = pd.DataFrame(rows)
    return frame.astype({"lowest": "float64", "highest": "float64"})


def _columns(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> set[str]:
    found = connection.execute(
        "select column_name from information_schema.columns "
        "where table_catalog = current_database() and table_schema = ? and table_name = ?",
        [schema, table],
    ).fetchall()
    return {name for (name,) in found}


def _measured(
    connection: duckdb.DuckDBPyConnection, schema: str, table: str, metrics: list[Metric]
) -> dict[str, tuple[float | None, float | None, int]]:
    if not metrics:
        return {}
    # NaN is greater than any number to DuckDB, so bounds that are finite leave room for none.
    values = ", ".join(f"min({m.column})::double, max({m.column})::double" for m in metrics)
    row = connection.execute(f"select {values} from {schema}.{table}").fetchone()
    assert row is not None
    return {m.name: _bounds(*row[2 * i : 2 * i + 2]) for i, m in enumerate(metrics)}


def _bounds(lowest: float | None, highest: float | None) -> tuple[float | None, float | None, int]:
    """(lowest, highest, how many of the two are no finite number and so left out)."""
    bounds = [b if b is None or math.isfinite(b) else None for b in (lowest, highest)]
    not_finite = sum(b is not None and not math.isfinite(b) for b in (lowest, highest))
    return bounds[0], bounds[1], not_finite


def judge_metrics(bounds: pd.DataFrame) -> Verdict:
    """Whether values within these bounds may be served.

    Every metric is there, none is negative, NaN or infinite, and those that the catalogue bounds
    do not exceed 1. Raises BrokenCheckError.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations import expectations as expect

    rules = {
        "every metric is in every mart that should have it": (
            expect.ExpectColumnValuesToBeInSet(column="is_present", value_set=[True]),
            lambda row: ~row["is_present"],
        ),
        "no metric is negative": (
            expect.ExpectColumnValuesToBeBetween(column="lowest", min_value=0),
            lambda row: row["lowest"] < 0,
        ),
        "no metric is NaN or infinite": (
            expect.ExpectColumnValuesToBeBetween(column="not_finite", max_value=0),
            lambda row: row["not_finite"] > 0,
        ),
        "rates that cannot exceed 1 do not": (
            expect.ExpectColumnValuesToBeBetween(
                column="highest",
                max_value=1,
                row_condition="is_bounded == True",
                condition_parser="pandas",
            ),
            lambda row: row["is_bounded"] & (row["highest"] > 1),
        ),
    }
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    batch = (
        context.data_sources.add_pandas("marts")
        .add_dataframe_asset("bounds")
        .add_batch_definition_whole_dataframe("all")
        .get_batch({"dataframe": bounds})
    )
    broken, failing = [], pd.Series(False, index=bounds.index)
    for sentence, (expectation, is_against_it) in rules.items():
        result = batch.validate(expectation)
        if _raised(result.exception_info):
            raise BrokenCheckError(f"the expectation that {sentence}: {result.exception_info}")
        if not result.success:
            broken.append(sentence)
            failing |= is_against_it(bounds)
    return Verdict(tuple(broken), tuple(bounds[failing].head(100).to_dict("records")))


def _raised(exception_info: dict[str, Any] | None) -> bool:
    """Whether an expectation failed to be evaluated; the flag stands at one of two depths."""
    if not exception_info:
        return False
    nested = [info for info in exception_info.values() if isinstance(info, dict)]
    return any(info.get("raised_exception") for info in [exception_info, *nested])
