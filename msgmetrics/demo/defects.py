"""What is wrong with the demo's few broken records, and which file each of them goes to.

Home of the defects and of how they are put into a file. The ids of broken records begin with
`broken-`, so none of them touches a good one.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from msgmetrics.demo.records import EXTRA_FIELD, FIELDS, suffix_family
from msgmetrics.demo.volume import Slice


@dataclass(frozen=True)
class Defect:
    """One broken record: a sound one with other values, its text then cut or added to."""

    stream: str
    family: str  # json, csv or parquet
    where: float  # how far into the period, 0 to 1
    name: str
    values: dict[str, Any] = field(default_factory=dict)
    cut: int = 0  # characters that the text loses at its end
    added: str = ""


DEFECTS = (
    Defect("messages", "json", 0.1, "cut-off", cut=25),
    Defect("messages", "json", 0.5, "unknown-channel", {"channel_code": "PIGEON"}),
    Defect("messages", "json", 0.5, "no-sender", {"sender": None}),
    Defect("messages", "json", 0.9, "no-offset", {"sent_at": "2026-03-01T10:00:00"}),
    Defect("messages", "csv", 0.3, "surplus-fields", added=",one,two"),
    Defect("messages", "csv", 0.7, "negative-cost", {"cost_cents": "-1.5"}),
    Defect("messages", "parquet", 0.6, "no-account", {"account_key": None}),
    Defect("events", "json", 0.2, "no-object", {}, cut=10_000, added="DELIVERED at noon"),
    Defect("events", "json", 0.4, "unknown-type", {"event_type": "TELEPORTED"}),
    Defect("events", "json", 0.8, "click-without-url", {"event_type": "CLICKED"}),
    Defect("events", "csv", 0.2, "no-time", {"occurred_at": "yesterday"}),
    Defect("events", "csv", 0.6, "too-few-fields", cut=len(",,,north-2")),
    Defect("events", "parquet", 0.5, "bounce-of-no-type", {"event_type": "BOUNCED"}),
    Defect("accounts", "json", 0.5, "unknown-plan", {"plan": "enterprise"}),
)

_SOUND: dict[str, dict[str, Any]] = {
    "messages": {
        "account_key": "ACC00001", "direction": "OUTBOUND", "channel_code": "SMS",
        "sender": "DEMO", "recipient": "9998400000000", "cost_cents": None,
    },
    "events": {"event_type": "DELIVERED"},
    "accounts": {"name": "Broken Ltd", "plan": "free"},
}  # fmt: skip
_TIMES = {"messages": "sent_at", "events": "occurred_at", "accounts": "updated_at"}


def place_defects(stream: str, suffixes: list[str]) -> dict[int, list[Defect]]:
    """The defects of each file of a stream, given the files' endings in the order of time."""
    placed: dict[int, list[Defect]] = {}
    for defect in DEFECTS:
        files = [n for n, suffix in enumerate(suffixes) if suffix_family(suffix) == defect.family]
        if defect.stream == stream and files:
            placed.setdefault(files[int(defect.where * len(files))], []).append(defect)
    return placed


def add_lines(content: bytes, defects: list[Defect], slice_: Slice) -> bytes:
    """The content of a JSON Lines or CSV file with the broken lines in its middle."""
    middle = content.find(b"\n", len(content) // 2) + 1
    broken = "".join(_line(defect, slice_) for defect in defects)
    return content[:middle] + broken.encode() + content[middle:]


def add_rows(table: pa.Table, defects: list[Defect], slice_: Slice) -> pa.Table:
    """The table with the broken rows at its end."""
    rows = [_record(defect, slice_) | {"spelling": 0} for defect in defects]
    return pa.concat_tables([table, pa.Table.from_pylist(rows, schema=table.schema)])


def _record(defect: Defect, slice_: Slice) -> dict[str, Any]:
    name = f"broken-{defect.stream}-{defect.name}"
    keys = dict.fromkeys([next(iter(FIELDS[defect.stream]))], name)
    if defect.stream == "events":
        keys["message_id"] = name
    time = {_TIMES[defect.stream]: datetime.fromtimestamp(slice_.start_us // 1_000_000, UTC)}
    return keys | time | _SOUND[defect.stream] | defect.values


def _line(defect: Defect, slice_: Slice) -> str:
    record = {
        name: f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value
        for name, value in _record(defect, slice_).items()
        if value is not None
    }
    if defect.family == "json":
        text = json.dumps(record)
    else:
        values = [record.get(name, "") for name in FIELDS[defect.stream]]
        text = ",".join([*values, record.get(EXTRA_FIELD, "north-2")])
    return text[: max(len(text) - defect.cut, 0)] + defect.added + "\n"
