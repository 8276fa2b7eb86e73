"""Rows of an answer on the wire: as JSON, CSV, Parquet or an Arrow stream.

JSON and CSV are made piece by piece, so that a million rows never stand in memory as Python
objects. What the rows are, and what stands around them, is settled elsewhere.
"""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from endpoint.planning.answer import Answer
from endpoint.planning.time_zones import offset_at
from endpoint.rendering import decimal_text, to_json
from endpoint.windows import EPOCH

_ROWS_A_PIECE = 5_000
# Starts of hours to years, which stand in answer after answer.
_MOST_KEPT_TEXTS = 50_000


def columns_of(answer: Answer) -> list[dict[str, str]]:
    """The columns of an answer as JSON tells them."""
    return [
        {"columnName": column.name, "columnDataType": column.data_type} for column in answer.columns
    ]


def moment_text(moment: datetime, zone: ZoneInfo | None = None) -> str:
    """`2024-04-04T13:00:00.000+0000`: milliseconds, and the offset of the zone (None: UTC)."""
    if zone is None:
        offset_text, shown = "+0000", moment.astimezone(UTC)
    else:
        # A clock that differs by seconds, as clocks did long ago, is shown by its whole minutes.
        offset = offset_at(moment, zone)
        minutes = round(offset.total_seconds() / 60)
        sign = "-" if minutes < 0 else "+"
        offset_text = f"{sign}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
        shown = moment.astimezone(UTC) + offset
    return shown.replace(tzinfo=None).isoformat(timespec="milliseconds") + offset_text


def json_rows(answer: Answer, *, missing: str | None, zone: ZoneInfo | None) -> Iterator[bytes]:
    """The rows as a JSON array of arrays, in pieces.

    missing: what stands for null. zone: whose clock moments are shown by, None for UTC.
    """
    yield b"["
    separator = b""
    for piece in answer.table.to_batches(max_chunksize=_ROWS_A_PIECE):
        if piece.num_rows:
            shown = [_json_column(column, missing, zone) for column in piece.columns]
            # A piece is a whole array, without its brackets.
            yield separator + to_json(list(zip(*shown, strict=True)))[1:-1]
            separator = b","
    yield b"]"


def csv_rows(answer: Answer, *, zone: ZoneInfo | None) -> Iterator[bytes]:
    """The rows as CSV with a header and CRLF, in pieces; null is empty."""
    yield _csv([[column.name for column in answer.columns]])
    for piece in answer.table.to_batches(max_chunksize=_ROWS_A_PIECE):
        shown = [_csv_column(column, zone) for column in piece.columns]
        yield _csv(zip(*shown, strict=True))


def parquet(answer: Answer) -> bytes:
    """The rows as a Parquet file."""
    file = io.BytesIO()
    pa.parquet.write_table(answer.table, file, compression="zstd")
    return file.getvalue()


def arrow_stream(answer: Answer) -> bytes:
    """The rows as an Arrow IPC stream."""
    file = io.BytesIO()
    with pa.ipc.new_stream(file, answer.table.schema) as stream:
        stream.write_table(answer.table)
    return file.getvalue()


def _json_column(column: pa.Array, missing: str | None, zone: ZoneInfo | None) -> list[Any]:
    values = _shown(column, zone)
    if missing is not None and column.null_count:
        values = [missing if value is None else value for value in values]
    if pa.types.is_decimal(column.type):
        return [_number(value) for value in values]
    return values


def _number(value: Any) -> Any:
    return orjson.Fragment(decimal_text(value)) if isinstance(value, Decimal) else value


def _csv_column(column: pa.Array, zone: ZoneInfo | None) -> list[Any]:
    values = _shown(column, zone)
    if pa.types.is_decimal(column.type):
        return [None if value is None else decimal_text(value) for value in values]
    return values


def _shown(column: pa.Array, zone: ZoneInfo | None) -> list[Any]:
    """The values, with moments as text."""
    if pa.types.is_timestamp(column.type):
        # By way of whole numbers, which Arrow gives out a hundred times as fast as moments.
        counts = column.view(pa.int64()).to_pylist()
        return [None if count is None else _moment_text_at(count, zone) for count in counts]
    if pa.types.is_decimal(column.type):
        return column.to_numpy(zero_copy_only=False).tolist()
    return column.to_pylist()


@lru_cache(maxsize=_MOST_KEPT_TEXTS)
def _moment_text_at(microseconds: int, zone: ZoneInfo | None) -> str:
    """The text of a moment that is told by microseconds since 1970."""
    return moment_text(EPOCH + timedelta(microseconds=microseconds), zone)


def _csv(rows: Any) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
