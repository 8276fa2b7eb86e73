"""Small warehouses in memory: loaded by the product's loader, built by the project's own SQL.

`expected_marts` states what they must hold, by the reference; `differences` compares the two.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import duckdb

from compiled import build_models, create_seeds
from hostile import NOW, RecordSet
from msgmetrics.settings import PROJECT_ROOT, Settings
from orchestration.loading.loader import Loader, LoadReport
from reference.marts import KEYS, marts
from reference.metrics import METRICS
from reference.outcomes import MEASURES, Outcome, bucket, outcomes, whole_seconds
from reference.records import (
    Refusal,
    latest_accounts,
    latest_events,
    latest_messages,
    parse_account,
    parse_event,
    parse_message,
)

Row = tuple[object, ...]
# Mart -> (names of its columns, key columns first; value columns by key columns).
Marts = dict[str, tuple[tuple[str, ...], dict[Row, Row]]]

_SHARED_KEY = ("period_start", "account_key", "channel_code")
_ID_COLUMNS = {name: f"{name}_id" for name in ("network", "country", "application", "entity")}
# Mart -> (seed, id column, name column) of what stands beside its key.
_NAMES = {
    "channel": ("channels", "channel_code", "channel_name"),
    "country": ("countries", "country_id", "country_name"),
    "network": ("networks", "network_id", "network_name"),
}
_DURATIONS = (
    "time_to_deliver",
    "time_to_click_from_seen",
    "time_to_click_from_delivered",
    "time_to_seen_from_delivered",
)


class Difference(NamedTuple):
    """One row that is not as it must be; None for a row that one side lacks."""

    mart: str
    key: Row
    warehouse: Mapping[str, object] | None
    reference: Mapping[str, object] | None


# ------------------------------------------------------------------------------- warehouses


@contextmanager
def empty_warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse with its reference tables."""
    with duckdb.connect() as connection:
        connection.execute("set threads = 2")
        connection.execute("set preserve_insertion_order = false")
        create_seeds(connection)
        yield connection


def load(connection: duckdb.DuckDBPyConnection, landing: Path) -> LoadReport:
    """Loads what is new in the landing zone, as of the clock of the record sets."""
    settings = Settings(home=landing.parent / "home", landing=landing)
    return Loader(connection, settings, now=NOW, as_of=NOW).load()


def build(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes every model anew from the raw tables."""
    build_models(connection)


def table_names(connection: duckdb.DuckDBPyConnection, schema: str) -> list[str]:
    return [
        name
        for (name,) in connection.execute(
            "select table_name from information_schema.tables where table_schema = ? order by 1",
            [schema],
        ).fetchall()
    ]


def rows_of(connection: duckdb.DuckDBPyConnection, table: str) -> list[Row]:
    """Every row of a table, in an order that depends on nothing but the rows."""
    return connection.execute(f"select * from {table} order by all").fetchall()


def contents(connection: duckdb.DuckDBPyConnection, schema: str) -> dict[str, list[Row]]:
    """Every row of every table of a schema."""
    return {
        name: rows_of(connection, f"{schema}.{name}") for name in table_names(connection, schema)
    }


# ----------------------------------------------------------------------------- expectations


def expected_outcomes(records: RecordSet) -> dict[str, Outcome]:
    """The reference's outcome of every message."""
    messages = latest_messages(_read(parse_message, records.messages))
    events = latest_events(_read(parse_event, records.events))
    return outcomes(messages.values(), events.values(), {"error_groups": _ERROR_GROUPS})


def _read(parse, raw_records) -> list:
    read = [parse(record, now=NOW) for record in raw_records]
    refused = [pair for pair in zip(read, raw_records, strict=True) if isinstance(pair[0], Refusal)]
    assert not refused, f"these records are meant to be valid: {refused[:3]}"
    return read


def expected_marts(records: RecordSet) -> Marts:
    """All that the schema marts must hold, by the reference."""
    by_message = expected_outcomes(records)
    expected: Marts = {}
    for name, rows in marts(by_message):
        expected[name] = _expected_mart(name, rows)
    expected["messages"] = _expected_messages(by_message.values())
    expected["url_clicks"] = (
        ("message_id", "url", "account_key", "channel_code", "sent_at", "clicked_messages", "clicks"),
        {
            (one.message_id, url): (one.account_key, one.channel_code, _naive(one.sent_at), 1, clicks)
            for one in by_message.values()
            for url, clicks in one.clicks_by_url.items()
        },
    )
    accounts = latest_accounts(_read(parse_account, records.accounts))
    expected["accounts"] = (
        ("account_key", "parent_account_key", "name", "plan"),
        {
            (account.account_key,): (account.parent_account_key, account.name, account.plan)
            for account in accounts.values()
        },
    )
    return expected


def _naive(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=None)


def _expected_mart(
    name: str, rows: Mapping[tuple, Mapping[str, object]]
) -> tuple[tuple[str, ...], dict[Row, Row]]:
    dimension = name.partition("_by_")[2]
    extra_key = ()
    if dimension == "url" or KEYS.get(dimension):
        extra_key = (_ID_COLUMNS.get(dimension, dimension),)
    key_columns = (*_SHARED_KEY, *extra_key)
    name_columns: tuple[str, ...] = ()
    names: Mapping[object, str] = {}
    if dimension in _NAMES:
        _, id_column, name_column = _NAMES[dimension]
        name_columns, names = (name_column,), _SEED_NAMES[dimension]
        id_at = key_columns.index(id_column)
    if dimension == "url":
        value_columns = tuple(next(iter(rows.values()), {"clicked_messages": 0}))
    elif name == "minutely":
        value_columns = MEASURES
    else:
        value_columns = (*MEASURES, *(code.lower() for code in METRICS))
    return (*key_columns, *name_columns, *value_columns), {
        (_naive(key[0]), *key[1:]): (
            *((names.get(key[id_at]),) if name_columns else ()),
            *(values[column] for column in value_columns),
        )
        for key, values in rows.items()
    }


def _expected_messages(every: Iterator[Outcome]) -> tuple[tuple[str, ...], dict[Row, Row]]:
    columns = (
        "message_id", "account_key", "channel_code", "direction", "traffic_type", "sender",
        "sender_type", "sender_domain", "recipient_domain", "communication", "campaign_reference",
        "network_id", "country_id", "application_id", "entity_id", "status_group", "status",
        "error_group", "error_code", "sent_at", "delivered_at", "seen_at", "clicked_at",
        *_DURATIONS, *(f"{name}_seconds" for name in _DURATIONS), *MEASURES,
    )  # fmt: skip
    return columns, {
        (one.message_id,): (
            one.account_key, one.channel_code, one.direction, one.traffic_type, one.sender,
            one.sender_type, one.sender_domain, one.recipient_domain, one.communication_id,
            one.campaign_reference_id, one.network_id, one.country_id, one.application_id,
            one.entity_id, one.status_group, one.status, one.error_group, one.error_code,
            *(_naive(at) for at in (one.sent_at, one.delivered_at, one.seen_at, one.clicked_at)),
            *(bucket(getattr(one, name)) for name in _DURATIONS),
            *(whole_seconds(getattr(one, name)) for name in _DURATIONS),
            *(one.measures[name] for name in MEASURES),
        )
        for one in every
    }  # fmt: skip


def _seed(name: str) -> list[dict[str, str]]:
    with (PROJECT_ROOT / "seeds" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


_ERROR_GROUPS = {row["error_code"]: row["error_group"] or None for row in _seed("error_codes")}
_SEED_NAMES = {
    mart: {
        row[id_] if mart == "channel" else int(row[id_]): row[name] or None for row in _seed(seed)
    }
    for mart, (seed, id_, name) in _NAMES.items()
}
