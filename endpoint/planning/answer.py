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

_MOMENT = pyarrow.timestamp("us", tz="UTC")
_ROWS_A_BATCH = 100_000


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
    # A reader makes half of the detours of `to_arrow_table`, which tell in a small answer.
    rows = connection.execute(plan.sql, dict(plan.parameters))
    table = _all_of(rows.to_arrow_reader(_ROWS_A_BATCH))
    if plan.most_rows is not None and table.num_rows > plan.most_rows:
        counted = connection.execute(plan.counting_sql, dict(plan.parameters)).fetchone()
        raise TooManyRowsError(counted[0], plan.most_rows)
    return Answer(plan.columns, _with_instants(table, plan.offsets))


def _all_of(reader: pyarrow.RecordBatchReader) -> pyarrow.Table:
    """What a reader gives. Raises duckdb's errors: Arrow hands on no more than their texts."""
    try:
        return reader.read_all()
    except (OSError, pyarrow.ArrowException) as error:
        text = str(error)
        if "INTERRUPT Error" in text:
            raise duckdb.InterruptException(text) from None
        if "Out of Memory Error" in text:
            raise duckdb.OutOfMemoryException(text) from None
        raise


def _with_instants(table: pyarrow.Table, offsets: Offsets | None) -> pyarrow.Table:
    """The table with moments in UTC; starts of local days and longer are local times in it."""
    times = catalogue().time_dimensions
    for index, field in enumerate(table.schema):
        if pyarrow.types.is_timestamp(field.type):
            column = table.column(index)
            is_local = offsets and field.name != "HOUR" and field.name in times
            moments = _instants(column, offsets) if is_local else _in_utc(column)
            table = table.set_column(index, field.with_type(_MOMENT), moments)
    return table


def _in_utc(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """The same moments, said to be in UTC; a cast comes to that by a long way."""
    if column.type.unit != _MOMENT.unit:
        return column.cast(_MOMENT)
    return pyarrow.chunked_array([chunk.view(_MOMENT) for chunk in column.chunks], _MOMENT)


def _instants(local: pyarrow.ChunkedArray, offsets: Offsets) -> pyarrow.Array:
    """The moments at which a local clock showed the times of a column."""
    shown = local.combine_chunks().dictionary_encode()
    starts = [offsets.instant(time) for time in shown.dictionary.to_pylist()]
    return pyarrow.array(starts, _MOMENT).take(shown.indices)
