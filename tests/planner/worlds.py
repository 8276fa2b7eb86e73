"""Small random warehouses, with the outcomes that the reference computes from the same records.

Their records are either drawn here, alike enough to meet in groups, or hostile record sets.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow
from compiled import build_models, create_seeds
from hostile import NOW, RecordSet, side_by_side
from landing_files import write_landing
from reference.outcomes import BUCKETS, Outcome, outcomes
from reference.records import (
    EVENT_TYPES,
    SENDER_TYPES,
    TRAFFIC_TYPES,
    Account,
    Refusal,
    latest_accounts,
    latest_events,
    latest_messages,
    parse_account,
    parse_event,
    parse_message,
)
from small_warehouse import load

from endpoint.planning.planner import Table, read_tables
from orchestration.warehouse import HASHED_IDS, create_raw_tables, hash_ids

CHANNELS = (*["SMS", "EMAIL"] * 4, "WHATSAPP", "RCS", "FB", "MMS", "NL", "TELEGRAM")
SENDERS = ("Shop", "o'Neil; drop table messages; --", "Zebra", "\U0001f600", "\uffee", "a\0b")
PARENTS = {"a": None, "b": "a", "c": "b", "d": "c", "e": None, "l1": "l2", "l2": "l1", "x": "gone"}
# "stray" and "gone" have messages, but no record.
ACCOUNT_KEYS = (*PARENTS, *["a", "b"] * 6, "stray", "gone")
ADDRESSES = ("u@one.example", "U <v@Two.Example>", "no address", "w@one.example")
URLS = ("https://x.example/1", "https://x.example/2?a='b'", "https://y.example/ü")
ERRORS = ("NO_ERROR", "EC_ABSENT_SUBSCRIBER", "EC_SOFT_BOUNCE", "EC_NOT_LISTED", "EC_DEFERRED")
LOAD_TIME = datetime(2026, 6, 1, tzinfo=UTC)
# Ends of a year, a leap February, and all kinds of weeks.
PERIODS = (
    (datetime(2025, 12, 26, tzinfo=UTC), timedelta(days=12)),
    (datetime(2024, 2, 27, tzinfo=UTC), timedelta(days=60)),
    (datetime(2026, 5, 5, tzinfo=UTC), timedelta(hours=30)),
)


@dataclass(frozen=True)
class World:
    """A published file in memory, and what is true of it."""

    name: str
    connection: duckdb.DuckDBPyConnection
    tables: dict[str, Table]
    outcomes: dict[str, Outcome]
    accounts: dict[str, Account]
    # All messages are sent in these whole hours.
    since: datetime
    until: datetime

    def __repr__(self) -> str:
        return f"<{self.name}>"


def build_world(seed: int, messages: int) -> World:
    """A world of so many messages; the same for the same arguments."""
    chance = random.Random(seed)
    since, length = PERIODS[seed % len(PERIODS)]
    sent = [_message(chance, number, since, length) for number in range(messages)]
    happened = [event for message in sent for event in _events(chance, message)]
    owners = [{"account_key": key, "parent_account_key": parent} for key, parent in PARENTS.items()]
    connection = _new_connection()
    create_raw_tables(connection)
    _load(connection, "messages", sent)
    _load(connection, "events", happened)
    _load(connection, "accounts", owners)
    for stream in HASHED_IDS:
        hash_ids(connection, stream)
    streams = {"messages": sent, "events": happened, "accounts": owners}
    return _built(f"world {seed}", connection, streams, LOAD_TIME, since, since + length)


def build_hostile_world(record_sets: Iterable[RecordSet], folder: Path) -> World:
    """A world of these record sets, loaded from files that are written to an empty folder.

    The accounts of a set, and so their trees, are apart from those of the others.
    """
    records = side_by_side(record_sets)
    connection = _new_connection()
    write_landing(folder / "landing", records, random.Random(len(records)), most_files=4)
    report = load(connection, folder / "landing")
    assert sum(stream.loaded for stream in report.streams.values()) == len(records)
    return _built(f"{len(records)} hostile records", connection, dict(records.streams()), NOW)


def _new_connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    create_seeds(connection)
    return connection


def _built(
    name: str,
    connection: duckdb.DuckDBPyConnection,
    streams: Mapping[str, Sequence[dict]],
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
) -> World:
    """The world of these raw records, which the connection's raw tables hold already."""
    build_models(connection)
    publish(connection)

    def parsed(parse: Any, stream: str) -> list:
        read = [parse(record, now=now) for record in streams[stream]]
        assert not any(isinstance(record, Refusal) for record in read)
        return read

    by_message = outcomes(
        latest_messages(parsed(parse_message, "messages")).values(),
        latest_events(parsed(parse_event, "events")).values(),
        _reference_data(connection),
    )
    sent = [one.sent_at.replace(minute=0, second=0, microsecond=0) for one in by_message.values()]
    return World(
        name,
        connection,
        read_tables(connection),
        by_message,
        latest_accounts(parsed(parse_account, "accounts")),
        since or min(sent),
        until or max(sent) + timedelta(hours=1),
    )


def publish(connection: duckdb.DuckDBPyConnection) -> None:
    """Put marts and reference tables where the published file has them; one mart as a view."""
    for schema, name in connection.execute(
        "select schema_name, table_name from duckdb_tables() "
        "where schema_name in ('marts', 'reference')"
    ).fetchall():
        kind = "view" if name == "daily_by_channel" else "table"
        connection.execute(f"create {kind} main.{name} as select * from {schema}.{name}")


def _reference_data(connection: duckdb.DuckDBPyConnection) -> dict[str, dict]:
    return {
        what: dict(connection.execute(f"select {columns} from reference.{seed}").fetchall())
        for what, columns, seed in (
            ("error_groups", "error_code, error_group", "error_codes"),
            ("country_names", "country_id, country_name", "countries"),
            ("network_names", "network_id, network_name", "networks"),
        )
    }


def _load(connection: duckdb.DuckDBPyConnection, stream: str, records: list[dict]) -> None:
    columns = {name: [record.get(name) for record in records] for name in records[0]}
    arrived = pyarrow.table({
        name: pyarrow.array(values, pyarrow.timestamp("us", tz="UTC"))
        if name.endswith("_at")
        else pyarrow.array(values)
        for name, values in columns.items()
    })  # fmt: skip
    assert arrived.num_rows == len(records)
    connection.execute(
        f"insert into raw.{stream} by name select *, 1 as file_id, 1 as batch_id from arrived"
    )


def _maybe(chance: random.Random, *values: Any) -> Any:
    return chance.choice((*values, None))


def _message(
    chance: random.Random, number: int, since: datetime, length: timedelta
) -> dict[str, Any]:
    sent_at = since + timedelta(microseconds=chance.randrange(length // timedelta(microseconds=1)))
    if chance.random() < 0.2:
        # Just on an hour or a day.
        unit = chance.choice([timedelta(hours=1), timedelta(days=1)])
        sent_at -= (sent_at - since) % unit
    channel = chance.choice(CHANNELS)
    outbound = chance.random() < 0.75
    company, user = chance.choice(SENDERS), "+38591000000"
    if channel == "EMAIL":
        company, user = chance.choice(ADDRESSES), chance.choice(ADDRESSES)
    plain = channel in ("SMS", "MMS", "EMAIL")
    return {
        "message_id": f"m{number:05}",
        "account_key": chance.choice(ACCOUNT_KEYS),
        "direction": "OUTBOUND" if outbound else "INBOUND",
        "channel_code": channel,
        "sent_at": sent_at,
        "sender": company if outbound else user,
        "recipient": user if outbound else company,
        "sender_type": _maybe(chance, *SENDER_TYPES) if plain else None,
        "traffic_type": _maybe(chance, *TRAFFIC_TYPES),
        "interaction_id": _maybe(chance, "i1", "i2", "i3"),
        "segments": chance.choice((1, 1, 2, 7)),
        "cost_cents": Decimal(chance.randrange(10**12)) / 10**6,
        "currency": chance.choice(("USD", "USD", "EUR")),
        "communication_id": _maybe(chance, -5, 7, 2**63 - 1),
        "campaign_reference_id": _maybe(chance, "spring", "Spring", "10", "9"),
        # The last of each is in no reference table.
        "country_id": _maybe(chance, 191, 40, 4, 999999),
        "network_id": _maybe(chance, 219010, 219001, 26201, 999999),
        "application_id": _maybe(chance, "app-1", "app 'two'"),
        "entity_id": _maybe(chance, "entity", "\u00e9ntity"),
    }


def _events(chance: random.Random, message: dict[str, Any]) -> list[dict[str, Any]]:
    bounds = list(BUCKETS.values())
    happened = []
    for number in range(chance.choice((0, 1, 1, 2, 3, 5))):
        kind = chance.choice((*EVENT_TYPES, "DELIVERED", "DELIVERED", "SEEN", "CLICKED", "CLICKED"))
        if chance.random() < 0.5:
            # On a bucket's bound, or just below it.
            passed = timedelta(seconds=chance.choice(bounds), microseconds=chance.choice((0, -1)))
        else:
            passed = timedelta(seconds=chance.uniform(-60, chance.choice((10, 1000, 400_000))))
        bears_status = EVENT_TYPES[kind].group is not None
        happened.append({
            "event_id": f"{message['message_id']}-{number}",
            "message_id": message["message_id"],
            "event_type": kind,
            "occurred_at": message["sent_at"] + passed,
            "status": _maybe(chance, "A_STATUS") if bears_status else None,
            "error_code": _maybe(chance, *ERRORS) if bears_status else None,
            "bounce_type": chance.choice(("SOFT", "HARD")) if kind == "BOUNCED" else None,
            "drop_reason": _maybe(chance, "BOUNCED", "OTHER") if kind == "DROPPED" else None,
            "url": chance.choice(URLS) if kind == "CLICKED" else None,
            "is_unsubscribe_link": chance.random() < 0.2 if kind == "CLICKED" else None,
        })  # fmt: skip
    return happened
