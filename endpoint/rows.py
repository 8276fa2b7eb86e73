"""Rows of an answer on the wire: as JSON, CSV, Parquet or an Arrow stream.

JSON and CSV are made piece by piece, so that a million rows never stand in memory as Python
objects. What the rows are, and what stands around them, is settled elsewhere.
"""

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from endpoint.planning.answer import Answer
from endpoint.planning.time_zones import offset_at
from endpoint.rendering import decimal_text, to_json

_ROWS_A_PIECE = 5_000
_IN_MILLISECONDS = pa.timestamp("ms")


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
    # strftime leaves out the leading zeros of early years.
    seconds = f"{shown.year:04d}-{shown:%m-%dT%H:%M:%S}"
    return f"{seconds}.{shown.microsecond // 1000:03d}{offset_text}"


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
    """The values, with moments as text; by way of numpy, which is many times as fast."""
    if pa.types.is_timestamp(column.type):
        return _of_few(column, partial(_moment_texts, zone=zone))
    if pa.types.is_string(column.type):
        return _of_few(column, pa.Array.to_pylist)
    if pa.types.is_decimal(column.type):
        return column.to_pylist()
    values = column.fill_null(0).to_numpy().tolist()
    if column.null_count:
        for index in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)):
            values[index] = None
    return values


def _of_few(column: pa.Array, shown: Callable[[pa.Array], list[Any]]) -> list[Any]:
    """The values of a column in which most stand many times: each is made once."""
    coded = column.dictionary_encode()
    values = shown(coded.dictionary)
    if column.null_count:
        return [None if index is None else values[index] for index in coded.indices.to_pylist()]
    return [values[index] for index in coded.indices.to_numpy().tolist()]


def _moment_texts(moments: pa.Array, zone: ZoneInfo | None) -> list[str]:
    if zone is not None:
        return [moment_text(moment, zone) for moment in moments.to_pylist()]
    # As `moment_text` has it, many times as fast.
    in_milliseconds = moments.cast(_IN_MILLISECONDS, safe=False).to_numpy(zero_copy_only=False)
    return [text + "+0000" for text in np.datetime_as_string(in_milliseconds, unit="ms").tolist()]


def _csv(rows: Any) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
