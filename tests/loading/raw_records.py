"""Raw records of any kind, as files of every format, and what the reference says of them.

A value is the spelling of a JSON value, so that every digit of a number counts. The unknown field
`case` tells the rows of the raw tables apart, because raw tables know no row numbers.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
from reference.records import (
    EARLIEST,
    EVENT_TYPES,
    Account,
    Event,
    Message,
    Refusal,
    load_json_line,
    parse_account,
    parse_event,
    parse_message,
)
from zone import NOW, Row, Zone

Spelled = Mapping[str, str]
Typed = Message | Event | Account

FORMATS = ("jsonl", "csv", "parquet")
PARSERS = {"messages": parse_message, "events": parse_event, "accounts": parse_account}
MESSAGE = {
    "message_id": '"m"',
    "account_key": '"a"',
    "direction": '"OUTBOUND"',
    "channel_code": '"SMS"',
    "sent_at": '"2026-05-05T10:00:00Z"',
    "updated_at": '"2026-05-05T10:00:01Z"',
    "sender": '"sender"',
    "sender_type": '"SHORT_CODE"',
    "recipient": '"4179"',
    "traffic_type": '"A2P_CONVERSATION"',
    "interaction_id": '"i"',
    "segments": "2",
    "cost_cents": "1.5",
    "currency": '"USD"',
    "communication_id": "1",
    "campaign_reference_id": '"c"',
    "country_id": "756",
    "network_id": "228001",
    "application_id": '"app"',
    "entity_id": '"e"',
}
EVENT = {
    "event_id": '"e"',
    "message_id": '"m"',
    "event_type": '"DELIVERED"',
    "occurred_at": '"2026-05-05T10:00:00Z"',
    "status": '"DELIVERED_TO_HANDSET"',
    "error_code": '"NO_ERROR"',
    "bounce_type": '"HARD"',
    "drop_reason": '"BOUNCED"',
    "url": '"https://example.com"',
    "is_unsubscribe_link": "true",
}
ACCOUNT = {
    "account_key": '"a"',
    "parent_account_key": '"p"',
    "name": '"n"',
    "plan": '"growth"',
    "updated_at": '"2026-05-05T10:00:00Z"',
}
# Valid records, one for each way in which a record decides what its other fields mean, and the
# fields of which that is true.
SOUND: dict[str, list[Spelled]] = {
    "messages": [
        {**MESSAGE, "channel_code": f'"{code}"'} for code in ("SMS", "MMS", "EMAIL", "WHATSAPP")
    ],
    "events": [
        {**EVENT, "event_type": f'"{name}"'}
        for name in ("CLICKED", "DELIVERED", "BOUNCED", "DROPPED", "SEEN")
    ],
    "accounts": [ACCOUNT],
}
VARYING = {
    "sender_type",
    "status",
    "error_code",
    "bounce_type",
    "drop_reason",
    "url",
    "is_unsubscribe_link",
}


def line_of(record: Spelled) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in record.items()) + "}"


def text_of(value: str) -> str:
    """What a format without types holds for a JSON value, or for what is no JSON."""
    try:
        parsed = json.loads(value, parse_constant=str)
        json.dumps(parsed, ensure_ascii=False).encode()
    except ValueError:
        return value
    if parsed is None:
        return ""
    return parsed if value.startswith('"') else value


def verdict(stream: str, record: Spelled, format_: str) -> Typed | Refusal:
    """The reference's."""
    if format_ == "jsonl":
        raw = load_json_line(line_of(record))
        if isinstance(raw, Refusal):
            return raw
    else:
        raw = {name: text_of(value) for name, value in record.items()}
    return PARSERS[stream](raw, now=NOW)


def file_of(records: Sequence[Spelled], format_: str) -> bytes:
    """One file with these records, in this order."""
    numbered = [{**record, "case": f'"{number}"'} for number, record in enumerate(records)]
    if format_ == "jsonl":
        return "".join(line_of(record) + "\n" for record in numbered).encode()
    names = list(dict.fromkeys(name for record in numbered for name in record))
    cells = [[text_of(record.get(name, "null")) for name in names] for record in numbered]
    if format_ == "csv":
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(names)
        writer.writerows(cells)
        return text.getvalue().encode()
    columns = zip(*cells, strict=True) if cells else [[] for _ in names]
    return parquet_of(
        {name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)}
    )


def parquet_of(columns: Mapping[str, pa.Array], **options: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), file, **options)
    return file.getvalue()


def load_cases(
    zone: Zone, stream: str, records: Sequence[Spelled], format_: str
) -> dict[int, Typed | str]:
    """Loads the records as one file: for each its typed values, or the reason why not."""
    zone.write(f"{stream}/cases.{format_}", file_of(records, format_))
    zone.load()
    first_row = 2 if format_ == "csv" else 1
    rows_of_lines = _lines_of(records, format_)
    results: dict[int, Typed | str] = {
        case_of(row): as_it_counts(stream, row) for row in zone.rows(stream)
    }
    for row in zone.quarantine():
        number = row["row_number"]
        case = rows_of_lines[number] if format_ == "csv" else number - first_row
        assert row["path"] == f"{stream}/cases.{format_}"
        assert row["raw_text"]
        results[case] = str(row["reason"])
    assert sorted(results) == list(range(len(records)))
    return results


def _lines_of(records: Sequence[Spelled], format_: str) -> dict[int, int]:
    """The case that starts on each line of a CSV file."""
    if format_ != "csv":
        return {}
    lines, line = {}, 2
    for case, record in enumerate(records):
        lines[line] = case
        line += 1 + sum(text_of(value).count("\n") for value in record.values())
    return lines


def case_of(row: Row) -> int:
    return int(json.loads(str(row["extra"]))["case"])


def as_it_counts(stream: str, row: Row) -> Typed:
    """A row of a raw table with the contract's defaults and mappings, as the reference types it."""
    values = {
        name: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
        for name, value in row.items()
        if name not in ("extra", "file_id", "batch_id")
    }
    match stream:
        case "messages":
            return _message(values)
        case "events":
            type_ = EVENT_TYPES[values["event_type"]]
            bears_status = type_.group is not None
            values["status"] = values["status"] or type_.default_status
            values["error_code"] = values["error_code"] or ("NO_ERROR" if bears_status else None)
            is_drop = values["event_type"] == "DROPPED"
            values["drop_reason"] = values["drop_reason"] or ("OTHER" if is_drop else None)
            values["is_unsubscribe_link"] = values["is_unsubscribe_link"] or False
            return Event(**values)
    values["name"] = values["name"] or values["account_key"]
    values["plan"] = values["plan"] or "free"
    values["updated_at"] = values["updated_at"] or EARLIEST
    return Account(**values)


def _message(values: Row) -> Message:
    values["updated_at"] = values["updated_at"] or values["sent_at"]
    if values["channel_code"] == "EMAIL":
        values["sender_type"] = values["sender_type"] or "DOMAIN"
    elif values["channel_code"] not in ("SMS", "MMS"):
        assert values["sender_type"] is None
        values["sender_type"] = values["channel_code"]
    values["segments"] = 1 if values["segments"] is None else values["segments"]
    amount = values.pop("cost_cents") or Decimal(0)
    values["currency"] = values["currency"] or "USD"
    cost = amount if values["currency"] == "USD" else Decimal(0)
    return Message(**values, amount=amount, cost_cents=cost)
