"""An installation with published files made by hand.

The marts are summed here from a list of messages, by SQL of this file's own, so that the endpoint
is tested against the published tables and not against the pipeline.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import duckdb
from ulid import ULID

from msgmetrics.keys import KeyStore
from msgmetrics.settings import Settings

_MEASURES = (
    "messages_out",
    "messages_in",
    "cost_cents_out",
    "cost_cents_in",
    "sent",
    "delivered",
    "failed",
)


@dataclass
class Message:
    """One message as the published `messages` table has it; times are ISO 8601 in UTC."""

    sent_at: str
    account_key: str = "acme"
    direction: str = "INBOUND"
    channel_code: str = "SMS"
    error_code: str = "NO_ERROR"
    sent: int = 0
    delivered: int = 0
    failed: int = 0
    cost_cents: Decimal = Decimal(0)

    def row(self, message_id: str) -> tuple:
        outbound = self.direction == "OUTBOUND"
        return (
            message_id,
            _utc(self.sent_at),
            self.account_key,
            self.channel_code,
            self.direction,
            self.error_code,
            int(outbound),
            int(not outbound),
            self.cost_cents if outbound else Decimal(0),
            Decimal(0) if outbound else self.cost_cents,
            self.sent,
            self.delivered,
            self.failed,
        )


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


ACCOUNTS = [
    # account, parent, plan
    ("acme", None, "scale"),
    ("acme-eu", "acme", "free"),
    ("acme-eu-shop", "acme-eu", "growth"),
    ("rival", None, "scale"),
    ("grower", None, "growth"),
    ("saver", None, "free"),
    ("keyholder", None, "scale"),
]


@dataclass
class Installation:
    """A home with published snapshots and keys, as the pipeline and the command line make it."""

    settings: Settings
    accounts: list[tuple[str, str | None, str]] = field(default_factory=lambda: list(ACCOUNTS))

    @property
    def keys(self) -> KeyStore:
        return KeyStore.of(self.settings)

    def key(self, account_key: str = "acme", *scopes: str) -> str:
        return self.keys.create(account_key, scopes or ("metrics:read",), lambda _: True)

    def publish(self, messages: list[Message], as_of: str, stale: bool = False) -> str:
        """Publish a snapshot and return its id."""
        snapshot_id = str(ULID())
        folder = self.settings.snapshots_dir
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{snapshot_id}.duckdb"
        with duckdb.connect(path) as database:
            _write(database, messages, self.accounts)
            database.execute(
                "insert into snapshots values (?, ?, current_timestamp::timestamp, ?, 9, 1)",
                [snapshot_id, _utc(as_of), stale],
            )
        link = self.settings.published_path.with_suffix(".new")
        link.symlink_to(path)
        link.replace(self.settings.published_path)
        return snapshot_id


def _write(
    database: duckdb.DuckDBPyConnection,
    messages: list[Message],
    accounts: list[tuple[str, str | None, str]],
) -> None:
    database.execute(
        """
        create table snapshots (
            snapshot_id varchar, as_of timestamp, published_at timestamp, stale boolean,
            checks_passed integer, checks_warned integer
        );
        create table accounts (
            account_key varchar, parent_account_key varchar, name varchar, plan varchar
        );
        create table messages (
            message_id varchar, sent_at timestamp, account_key varchar, channel_code varchar,
            direction varchar, error_code varchar, messages_out bigint, messages_in bigint,
            cost_cents_out decimal(38, 6), cost_cents_in decimal(38, 6), sent bigint,
            delivered bigint, failed bigint
        );
        """
    )
    database.executemany(
        "insert into accounts values (?1, ?2, ?1, ?3)", [list(account) for account in accounts]
    )
    if messages:
        database.executemany(
            "insert into messages values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [list(message.row(f"m{number}")) for number, message in enumerate(messages)],
        )
    sums = ", ".join(
        f"sum({measure})::decimal(38, 6) as {measure}"
        if measure.startswith("cost")
        else f"sum({measure})::bigint as {measure}"
        for measure in _MEASURES
    )
    for table, unit, dimension in (
        ("minutely", "minute", ""),
        ("hourly_by_channel", "hour", ""),
        ("daily_by_channel", "day", ""),
        ("hourly_by_error_code", "hour", "error_code,"),
        ("daily_by_error_code", "day", "error_code,"),
    ):
        database.execute(
            f"""
            create table {table} as
            select date_trunc('{unit}', sent_at)::timestamp as period_start, account_key,
                channel_code, {dimension} {sums}
            from messages group by all
            """
        )
