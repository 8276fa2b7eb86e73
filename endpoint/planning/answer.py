"""Runs a plan and gives its rows.

Rendering (printed times, what stands for null) is the callers' business.
"""

from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow

from endpoint.planning.planner import Column, ReadyPlan
from endpoint.planning.time_zones import Offsets
from msgmetrics.catalogue import catalogue


class TooManyRowsError(Exception):
    """The answer has more rows than the caller takes; `rows` says how many."""

    def __init__(self, rows: int, most: int) -> None:
        super().__init__(
            f"The answer has {rows:,} rows, and {most:,} is the most: "
            "ask for fewer dimensions, a shorter period or fewer values in the filters."
        )
        self.rows = rows
        self.most = most


@dataclass(frozen=True)
class Answer:
    """The rows of a question, sorted.

    table: columns of string, int64, double, decimal(38, 6) and timestamp (microseconds, UTC).
    """

    columns: tuple[Column, ...]
    table: pyarrow.Table

    def rows(self) -> list[list[Any]]:
        """Rows of plain values: str, int, float, Decimal, aware datetime in UTC, None."""
        columns = [column.to_pylist() for column in self.table.columns]
        return [list(row) for row in zip(*columns, strict=True)]


def run(connection: duckdb.DuckDBPyConnection, plan: ReadyPlan) -> Answer:
    """The answer of a plan. Raises TooManyRowsError where it has more than the plan's most rows."""
    table = connection.execute(plan.sql, dict(plan.parameters)).to_arrow_table()
    if plan.most_rows is not None and table.num_rows > plan.most_rows:
        counted = connection.execute(plan.counting_sql, dict(plan.parameters)).fetchone()
        raise TooManyRowsError(counted[0], plan.most_rows)
    return Answer(plan.columns, _with_instants(table, plan.offsets))


def _with_instants(table: pyarrow.Table, offsets: Offsets | None) -> pyarrow.Table:
    """The table with moments in UTC; starts of local days and longer are local times in it."""
    moments = table.cast(_in_utc(table.schema))
    if offsets is None:
        return moments
    for index, name in enumerate(table.column_names):
        if name in catalogue().time_dimensions and name != "HOUR":
            shown = table.column(index).combine_chunks().dictionary_encode()
            starts = [offsets.instant(local) for local in shown.dictionary.to_pylist()]
            instants = pyarrow.array(starts, moments.schema.field(index).type)
            moments = moments.set_column(
                index, moments.schema.field(index), instants.take(shown.indices)
            )
    return moments


def _in_utc(schema: pyarrow.Schema) -> pyarrow.Schema:
    return pyarrow.schema(
        field.with_type(pyarrow.timestamp("us", tz="UTC"))
        if pyarrow.types.is_timestamp(field.type)
        else field
        for field in schema
    )
