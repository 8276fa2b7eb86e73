"""Small warehouses in memory: loaded by the product's loader, built by the project's own SQL.

`expected_marts` states what they must hold, by the reference; `differences` compares the two.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import duckdb
from compiled import build_models, create_seeds
from hostile import NOW, RecordSet
from reference.marts import KEYS, URL_MEASURES, marts
from reference.metrics import METRICS, URL_METRICS
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

from msgmetrics.settings import PROJECT_ROOT, Settings
from orchestration.loading.loader import Loader, LoadReport

Row = tuple[object, ...]


class Mart(NamedTuple):
    """What a mart holds: its rows' values by their keys."""

    key_columns: tuple[str, ...]
    value_columns: tuple[str, ...]
    rows: Mapping[Row, Row]


class Difference(NamedTuple):
    """A row that is not as it must be: its differing columns; None for a row that a side lacks."""

    mart: str
    key: Row
    warehouse: Mapping[str, object] | None
    reference: Mapping[str, object] | None


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
    """Loads what is new in a landing zone of valid records, as of the record sets' clock."""
    settings = Settings(home=landing.parent / "home", landing=landing)
    report = Loader(connection, settings, now=NOW, as_of=NOW).load()
    refused = connection.execute("select path, row_number, reason from raw.quarantine").fetchmany(3)
    assert not refused, f"valid records are refused: {refused}"
    return report


def build(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes every model anew from the raw tables."""
    build_models(connection)


def table_names(connection: duckdb.DuckDBPyConnection, schema: str) -> list[str]:
    return [
        name
        for (name,) in connection.execute(
            "select table_name from information_schema.tables where table_schema = ? "
            "and table_catalog = current_database() order by 1",
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


def expected_marts(records: RecordSet) -> dict[str, Mart]:
    """All that the schema marts must hold, by the reference."""
    by_message = expected_outcomes(records)
    every = list(by_message.values())
    accounts = latest_accounts(_read(parse_account, records.accounts)).values()
    return {
        **{name: _expected_mart(name, rows) for name, rows in marts(every)},
        "messages": _expected_messages(every),
        "url_clicks": Mart(
            ("message_id", "url"),
            ("account_key", "channel_code", "sent_at", "clicked_messages", "clicks"),
            {
                (one.message_id, url): (
                    *(one.account_key, one.channel_code, _naive(one.sent_at), 1, clicks),
                )
                for one in every
                for url, clicks in one.clicks_by_url.items()
            },
        ),
        "accounts": Mart(
            ("account_key",),
            ("parent_account_key", "name", "plan"),
            {(one.account_key,): (one.parent_account_key, one.name, one.plan) for one in accounts},
        ),
    }


def key_column(dimension: str) -> str:
    """The column that a mart's dimension stands in."""
    return _ID_COLUMNS.get(dimension, dimension)


def _naive(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=None)


def _expected_mart(name: str, rows: Mapping[Row, Mapping[str, object]]) -> Mart:
    dimension = name.partition("_by_")[2]
    key_columns = _SHARED_KEY
    if dimension == "url" or KEYS.get(dimension):
        key_columns += (key_column(dimension),)
    if dimension == "url":
        value_columns = (*URL_MEASURES, *(code.lower() for code in URL_METRICS))
    elif name == "minutely":
        value_columns = MEASURES
    else:
        value_columns = (*MEASURES, *(code.lower() for code in METRICS))
    naive = {
        (_naive(key[0]), *key[1:]): tuple(values[column] for column in value_columns)
        for key, values in rows.items()
    }
    if dimension not in _NAMES:
        return Mart(key_columns, value_columns, naive)
    _, id_column, name_column = _NAMES[dimension]
    id_at, names = key_columns.index(id_column), _SEED_NAMES[dimension]
    named = {key: (names.get(key[id_at]), *values) for key, values in naive.items()}
    return Mart(key_columns, (name_column, *value_columns), named)


def _expected_messages(every: Iterable[Outcome]) -> Mart:
    value_columns = (
        "account_key", "channel_code", "direction", "traffic_type", "sender", "sender_type",
        "sender_domain", "recipient_domain", "communication", "campaign_reference", "network_id",
        "country_id", "application_id", "entity_id", "status_group", "status", "error_group",
        "error_code", "sent_at", "delivered_at", "seen_at", "clicked_at",
        *_DURATIONS, *(f"{name}_seconds" for name in _DURATIONS), *MEASURES,
    )  # fmt: skip
    rows = {
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
    return Mart(("message_id",), value_columns, rows)


# ------------------------------------------------------------------------------ comparison


def differences(
    connection: duckdb.DuckDBPyConnection, expected: Mapping[str, Mart]
) -> Iterator[Difference]:
    """Every row of the warehouse's marts that is not to the last digit what is expected."""
    for name, mart in expected.items():
        columns = (*mart.key_columns, *mart.value_columns)
        fetched = connection.execute(f"select {', '.join(columns)} from marts.{name}").fetchall()
        width = len(mart.key_columns)
        found = {row[:width]: row[width:] for row in fetched}
        assert len(found) == len(fetched), f"marts.{name} has a key twice"
        if found == mart.rows:
            continue
        for key in found.keys() | mart.rows.keys():
            row, wanted = found.get(key), mart.rows.get(key)
            if row is None or wanted is None:
                whole = dict(zip(mart.value_columns, row or wanted or (), strict=True))
                yield Difference(name, key, whole if row else None, whole if wanted else None)
            elif row != wanted:
                unlike = [
                    (column, value, right)
                    for column, value, right in zip(mart.value_columns, row, wanted, strict=True)
                    if value != right
                ]
                yield Difference(
                    name,
                    key,
                    {column: value for column, value, _ in unlike},
                    {column: right for column, _, right in unlike},
                )


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
