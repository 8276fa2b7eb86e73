"""Raw records written as landing files: JSON Lines, CSV and Parquet, in every dress they may wear.

Which records there are is `hostile`'s matter. A record means the same in every format.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
from hostile import Record, RecordSet
from reference.records import Number, timestamp

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TYPES: dict[str, tuple[pa.DataType, Callable[[str], object]]] = {
    **dict.fromkeys(
        ("sent_at", "updated_at", "occurred_at"), (pa.timestamp("us", "UTC"), timestamp)
    ),
    **dict.fromkeys(
        ("communication_id", "country_id", "network_id", "segments"),
        (pa.int64(), lambda text: int(Decimal(text))),
    ),
    "cost_cents": (pa.decimal128(18, 6), Decimal),
    "is_unsubscribe_link": (pa.bool_(), lambda text: {"true": True, "false": False}[text.lower()]),
}


def write_landing(
    landing: Path, records: RecordSet, random: Random, *, most_files: int = 6
) -> None:
    """Spreads the records over files of random formats, names and folders, in random order."""
    for stream, of_stream in records.streams():
        shuffled = random.sample(of_stream, len(of_stream))
        cuts = sorted(random.choices(range(len(shuffled) + 1), k=random.randrange(most_files)))
        for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(shuffled)], strict=True)):
            folder = landing / stream / random.choice(("", "dt=2026-05-05", "a/b c/d'e"))
            folder.mkdir(parents=True, exist_ok=True)
            write_file(folder, f"part-{number:04}", shuffled[start:end], random)


def write_file(folder: Path, name: str, records: Sequence[Record], random: Random) -> Path:
    """One file of a random format with these records in this order."""
    ending, content = random.choice(_WRITERS)(records, random)
    path = folder / (name + ending)
    path.write_bytes(content)
    return path


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _columns(records: Sequence[Record], random: Random) -> list[str]:
    names = sorted({name for record in records for name in record})
    random.shuffle(names)
    return names


# ------------------------------------------------------------------------------ JSON Lines


def _json_lines(records: Sequence[Record], random: Random) -> tuple[str, bytes]:
    is_ascii = random.random() < 0.3
    line_end = random.choice(("\n", "\n", "\r\n"))
    lines = []
    for record in records:
        members = [
            f"{json.dumps(name)}: "
            + (value if isinstance(value, Number) else json.dumps(value, ensure_ascii=is_ascii))
            for name, value in random.sample(sorted(record.items()), len(record))
        ]
        lines.append("{" + ", ".join(members) + "}")
        if random.random() < 0.05:
            lines.append(random.choice(("", "  \t")))
    text = line_end.join(lines) + random.choice(("", line_end))
    content = random.choice((b"", b"", _BYTE_ORDER_MARK)) + text.encode()
    match random.choice((".jsonl", ".jsonl", ".jsonl.gz", ".jsonl.zst")):
        case ".jsonl.gz":
            return ".jsonl.gz", gzip.compress(content)
        case ".jsonl.zst":
            return ".jsonl.zst", pa.compress(content, codec="zstd", asbytes=True)
    return ".jsonl", content


# ------------------------------------------------------------------------------------- CSV


def _csv(records: Sequence[Record], random: Random) -> tuple[str, bytes]:
    columns = _columns(records, random)
    file = io.StringIO(newline="")
    writer = csv.writer(
        file,
        lineterminator=random.choice(("\n", "\n", "\r\n")),
        quoting=random.choice((csv.QUOTE_ALL, csv.QUOTE_MINIMAL)),
    )
    writer.writerow(columns)
    for record in records:
        writer.writerow([_as_text(record.get(name)) for name in columns])
    content = random.choice((b"", b"", _BYTE_ORDER_MARK)) + file.getvalue().encode()
    if random.random() < 0.3:
        return ".csv.gz", gzip.compress(content)
    return ".csv", content


# --------------------------------------------------------------------------------- Parquet


def _parquet(records: Sequence[Record], random: Random) -> tuple[str, bytes]:
    columns = _columns(records, random)
    is_typed = random.random() < 0.7
    table = pa.table(
        {
            name: _parquet_column(
                name if is_typed else "", [record.get(name) for record in records]
            )
            for name in columns
        }
    )
    file = io.BytesIO()
    pq.write_table(
        table,
        file,
        compression=random.choice(("none", "snappy", "zstd")),
        row_group_size=random.choice((3, 1000)),
        use_dictionary=random.random() < 0.5,
    )
    return ".parquet", file.getvalue()


def _parquet_column(name: str, values: Sequence[object]) -> pa.Array:
    """The column in its own type, as text where its type is text or not all values are of it."""
    texts = [_as_text(value) for value in values]
    if name in _TYPES:
        type_, read = _TYPES[name]
        try:
            return pa.array([read(text) if text else None for text in texts], type_)
        except (ValueError, ArithmeticError, KeyError, pa.ArrowException):
            pass
    return pa.array(
        [None if value is None else text for value, text in zip(values, texts, strict=True)],
        pa.string(),
    )


_WRITERS = (_json_lines, _csv, _parquet)
