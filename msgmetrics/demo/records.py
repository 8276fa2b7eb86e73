"""Columns of numbers as records, and records as the bytes of a landing file.

Home of the fields of each stream, of the ways in which senders spell values, and of the file
formats. Which record goes into which file is decided in `generator`, what is wrong with the broken
ones in `defects`.
"""

import gzip
import io
from enum import Enum, auto

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from msgmetrics.demo import channels, funnel, traffic, world
from msgmetrics.demo.columns import Columns, event_ids, message_ids, scramble

SPELLINGS = 16
"""The column `spelling` (0 to 15) of a record decides how its times and numbers are written."""


class Kind(Enum):
    """How a value is written."""

    TIME = auto()
    CODE = auto()  # text without anything that would need escaping
    TEXT = auto()
    NUMBER = auto()
    FLAG = auto()


_UTC = pa.timestamp("us", tz="UTC")

# Each stream's fields in the order of the CSV header: kind of value, type in Parquet.
FIELDS: dict[str, dict[str, tuple[Kind, pa.DataType]]] = {
    "messages": {
        "message_id": (Kind.CODE, pa.string()),
        "account_key": (Kind.CODE, pa.string()),
        "direction": (Kind.CODE, pa.string()),
        "channel_code": (Kind.CODE, pa.string()),
        "sent_at": (Kind.TIME, _UTC),
        "updated_at": (Kind.TIME, _UTC),
        "sender": (Kind.TEXT, pa.string()),
        "sender_type": (Kind.CODE, pa.string()),
        "recipient": (Kind.TEXT, pa.string()),
        "traffic_type": (Kind.CODE, pa.string()),
        "interaction_id": (Kind.CODE, pa.string()),
        "segments": (Kind.NUMBER, pa.int16()),
        "cost_cents": (Kind.NUMBER, pa.decimal128(18, 6)),
        "currency": (Kind.CODE, pa.string()),
        "communication_id": (Kind.NUMBER, pa.int64()),
        "campaign_reference_id": (Kind.CODE, pa.string()),
        "country_id": (Kind.NUMBER, pa.int32()),
        "network_id": (Kind.NUMBER, pa.int32()),
        "application_id": (Kind.CODE, pa.string()),
        "entity_id": (Kind.CODE, pa.string()),
    },
    "events": {
        "event_id": (Kind.CODE, pa.string()),
        "message_id": (Kind.CODE, pa.string()),
        "event_type": (Kind.CODE, pa.string()),
        "occurred_at": (Kind.TIME, _UTC),
        "status": (Kind.CODE, pa.string()),
        "error_code": (Kind.CODE, pa.string()),
        "bounce_type": (Kind.CODE, pa.string()),
        "drop_reason": (Kind.CODE, pa.string()),
        "url": (Kind.CODE, pa.string()),
        "is_unsubscribe_link": (Kind.FLAG, pa.bool_()),
    },
    "accounts": {
        "account_key": (Kind.CODE, pa.string()),
        "parent_account_key": (Kind.CODE, pa.string()),
        "name": (Kind.TEXT, pa.string()),
        "plan": (Kind.CODE, pa.string()),
        "updated_at": (Kind.TIME, _UTC),
    },
}
EXTRA_FIELD = "provider"
"""A field that no table names: one JSON record in sixteen has it, and every CSV row."""


def suffix_family(suffix: str) -> str:
    """The format behind a file ending: json, csv or parquet."""
    return {"jsonl": "json"}.get(name := suffix.split(".")[0], name)


class RecordWriter:
    """Turns columns into tables of records, and tables into bytes, the same bytes every time."""

    def __init__(self, of_world: world.World) -> None:
        self._world = of_world
        self._database = duckdb.connect()
        # One thread writes rows in one order; the other core compresses meanwhile.
        self._database.execute("SET threads = 1")

    def close(self) -> None:
        """Free the memory of the text engine."""
        self._database.close()

    def messages(self, columns: Columns) -> pa.Table:
        """Records of the stream messages, one row each, with the column `spelling`."""
        made = self._world
        account, channel, user = columns["account"], columns["channel"], columns["user"]
        domain = np.searchsorted(
            world.MAIL_DOMAIN_CUTS, scramble(user, made.seed).astype(float) / 2.0**64
        )
        codes = pa.table(
            {
                "message_id": message_ids(columns["ordinal"], columns["id_us"], made.seed),
                "account_key": made.account_keys.take(pa.array(account)),
                "inbound": columns["inbound"],
                "channel_code": pa.array(channels.CODES).take(pa.array(channel)),
                "sent_at": _times(columns["sent_us"]),
                "updated_at": _times(columns["updated_us"]),
                "company": made.senders.take(pa.array(columns["company"])),
                "company_type": made.sender_types.take(pa.array(columns["company"])),
                "address": channels.column("address", int)[channel],
                "person": user,
                "given_name": world.GIVEN_NAMES.take(pa.array(user % len(world.GIVEN_NAMES))),
                "mail_name": world.MAIL_NAMES.take(pa.array(user % len(world.MAIL_NAMES))),
                "mail_domain": world.MAIL_DOMAINS.take(
                    pa.array(domain.clip(0, len(world.MAIL_DOMAINS) - 1))
                ),
                "traffic_type": _names(channels.TRAFFIC_TYPES, columns["traffic_type"]),
                "interaction": _known(columns["interaction"]),
                "segments": _known(columns["segments"]),
                "cost_micros": _known(columns["cost_micros"]),
                "currency": _names(traffic.CURRENCIES, columns["currency"]),
                "communication_id": _known(columns["communication"]),
                "campaign": made.campaigns.take(_known(columns["campaign"])),
                "campaign_month": pa.array(
                    columns["month"].astype("datetime64[M]").astype("datetime64[D]")
                ),
                "country_id": _known(columns["country_id"]),
                "network_id": _known(columns["network_id"]),
                "account": account,
                "application": _known(columns["application"]),
                "entity": _known(columns["entity"]),
                "ordinal": columns["ordinal"],
                "spelling": (columns["ordinal"] + 5 * columns["repeat"]) % SPELLINGS,
            }
        )
        return self._query(_MESSAGES_SQL, codes)

    def events(self, columns: Columns) -> pa.Table:
        """Records of the stream events, one row each, with the column `spelling`."""
        made = self._world
        link = columns["link"]
        unsubscribes = pa.array(columns["unsubscribes"] == 1, mask=columns["unsubscribes"] < 0)
        places = columns["ordinal"] + columns["place"] + 5 * columns["repeat"]
        return pa.table(
            {
                "event_id": event_ids(columns["ordinal"], columns["place"], made.seed),
                "message_id": message_ids(columns["ordinal"], columns["id_us"], made.seed),
                "event_type": _names(funnel.EVENT_TYPES, columns["event_type"]),
                "occurred_at": _times(columns["occurred_us"]),
                "status": _names(funnel.STATUSES, columns["status"]),
                "error_code": _names(funnel.ERRORS, columns["error"]),
                "bounce_type": _names(funnel.BOUNCES, columns["bounce"]),
                "drop_reason": _names(funnel.DROP_REASONS, columns["drop"]),
                "url": made.links.take(_known(link)),
                "is_unsubscribe_link": unsubscribes,
                "spelling": places % SPELLINGS,
            }
        )

    def json_lines(self, stream: str, table: pa.Table, *, nulls: bool = False) -> bytes:
        """One object a line. Missing fields are left out, or written as null."""
        pieces = []
        for field, (kind, _) in FIELDS[stream].items():
            piece = f"""'"{field}":' || {_json_value(field, kind)}"""
            pieces.append(f"""coalesce({piece}, '"{field}":null')""" if nulls else piece)
        extra = f"""CASE WHEN spelling = 7 THEN '"{EXTRA_FIELD}":"north-2"' END"""
        line = f"'{{' || concat_ws(',', {', '.join(pieces)}, {extra}) || '}}' || chr(10)"
        return self._lines(line, table)

    def csv(self, stream: str, table: pa.Table) -> bytes:
        """Header and rows; a value is in quotation marks only where it has to be."""
        pieces = [_csv_value(field, kind) for field, (kind, _) in FIELDS[stream].items()]
        values = ", ".join(f"coalesce({piece}, '')" for piece in pieces)
        line = f"concat_ws(',', {values}, 'north-2') || chr(10)"
        header = ",".join([*FIELDS[stream], EXTRA_FIELD]) + "\n"
        return header.encode() + self._lines(line, table)

    def _query(self, sql: str, table: pa.Table) -> pa.Table:
        self._database.register("given", table)
        try:
            return self._database.sql(sql).to_arrow_table()
        finally:
            self._database.unregister("given")

    def _lines(self, expression: str, table: pa.Table) -> bytes:
        lines = self._query(f"SELECT {expression} FROM given", table).column(0)
        return b"".join(_text_of(chunk) for chunk in lines.chunks)


def parquet(stream: str, table: pa.Table) -> bytes:
    """A Parquet file with typed columns, times adjusted to UTC."""
    schema = pa.schema([(field, kind) for field, (_, kind) in FIELDS[stream].items()])
    target = io.BytesIO()
    pq.write_table(
        table.select(schema.names).cast(schema),
        target,
        compression="zstd",
        compression_level=1,
        version="2.6",
        row_group_size=100_000,
    )
    return target.getvalue()


def compress(content: bytes, suffix: str) -> bytes:
    """The bytes as the file ending wants them; nothing in them tells when they were written."""
    match suffix.split(".")[-1]:
        case "gz":
            return gzip.compress(content, compresslevel=4, mtime=0)
        case "zst":
            return pa.Codec("zstd", compression_level=3).compress(content, asbytes=True)
        case _:
            return content


def _names(names: tuple[str, ...], codes: np.ndarray) -> pa.Array:
    return pa.array(names).take(_known(codes))


def _known(numbers: np.ndarray) -> pa.Array:
    return pa.array(numbers, mask=numbers < 0)


def _times(times_us: np.ndarray) -> pa.Array:
    return pa.array(times_us.astype("datetime64[us]"), mask=times_us < 0)


def _text_of(lines: pa.Array) -> memoryview:
    """All strings of an array, one after the other: they lie that way in memory already."""
    lines = pc.cast(lines, pa.large_string())
    _, offsets, data = lines.buffers()
    if data is None or not len(lines):
        return memoryview(b"")
    bounds = np.frombuffer(offsets, np.int64)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(data)[bounds[0] : bounds[-1]]


def _json_value(field: str, kind: Kind) -> str:
    match kind:
        case Kind.TIME:
            return f"""'"' || {_spelled_time(field)} || '"'"""
        case Kind.TEXT:
            return f"""'"' || replace(replace({field}, '\\', '\\\\'), '"', '\\"') || '"'"""
        case Kind.NUMBER:
            text = _plain_number(field)
            return f"""CASE WHEN spelling % 4 = 1 THEN '"' || {text} || '"' ELSE {text} END"""
        case Kind.FLAG:
            return f"""CASE WHEN {field} AND spelling = 3 THEN '"TRUE"' ELSE {field}::VARCHAR END"""
        case _:
            return f"""'"' || {field} || '"'"""


def _csv_value(field: str, kind: Kind) -> str:
    match kind:
        case Kind.TIME:
            return _spelled_time(field)
        case Kind.TEXT:
            quoted = f"""'"' || replace({field}, '"', '""') || '"'"""
            needed = f"""contains({field}, ',') OR contains({field}, '"')"""
            return f"CASE WHEN {needed} THEN {quoted} ELSE {field} END"
        case Kind.NUMBER:
            return _plain_number(field)
        case Kind.FLAG:
            return f"{field}::VARCHAR"
        case _:
            return field


def _plain_number(field: str) -> str:
    if field == "cost_cents":
        # Exact decimals, some with all six places and some without the zeros at the end.
        short = "rtrim(rtrim(cost_cents::VARCHAR, '0'), '.')"
        return f"CASE WHEN spelling < 3 THEN cost_cents::VARCHAR ELSE {short} END"
    return f"{field}::VARCHAR"


def _spelled_time(field: str) -> str:
    iso = "replace({}::VARCHAR, ' ', 'T')"
    eastern = f"({field} + INTERVAL 2 HOUR)"
    return f"""CASE spelling
        WHEN 13 THEN {iso.format(eastern)} || '+02:00'
        WHEN 14 THEN {iso.format(eastern)} || '+0200'
        WHEN 15 THEN {eastern}::VARCHAR || '+02'
        WHEN 12 THEN {field}::VARCHAR || 'Z'
        ELSE {iso.format(field)} || 'Z' END"""


_MESSAGES_SQL = f"""
WITH addressed AS (
    SELECT *,
        CASE address
            WHEN {channels.PHONE} THEN
                (9990000000000 + country_id::BIGINT * 10000000 + person % 10000000)::VARCHAR
            WHEN {channels.HANDLE} THEN 'u' || (person * 7919 + 1000003)
            ELSE CASE
                WHEN ordinal % 1999 = 7 THEN mail_name
                WHEN ordinal % 41 = 7 THEN
                    '"' || mail_name || ', ' || given_name || '" <' || mail_name || '.' || person
                    || '@' || upper(mail_domain) || '>'
                WHEN ordinal % 7 = 3 THEN
                    given_name || ' <' || mail_name || '.' || person || '@' || mail_domain || '>'
                ELSE mail_name || '.' || person || '@' || mail_domain
            END
        END AS user_address
    FROM given
)
SELECT
    message_id,
    account_key,
    CASE WHEN inbound THEN 'INBOUND' ELSE 'OUTBOUND' END AS direction,
    channel_code,
    sent_at,
    updated_at,
    CASE WHEN inbound THEN user_address ELSE company END AS sender,
    CASE WHEN NOT inbound OR address = {channels.HANDLE} THEN company_type END AS sender_type,
    CASE WHEN inbound THEN company ELSE user_address END AS recipient,
    traffic_type,
    CASE WHEN interaction >= {traffic.CASES} THEN 'case-' || (interaction - {traffic.CASES})
        ELSE 'talk-' || interaction END AS interaction_id,
    segments,
    (cost_micros::DECIMAL(18, 0) * 0.000001::DECIMAL(7, 6))::DECIMAL(18, 6) AS cost_cents,
    currency,
    communication_id,
    campaign || strftime(campaign_month, '%Y-%m') AS campaign_reference_id,
    country_id,
    network_id,
    'app-' || account || '-' || application AS application_id,
    'entity-' || account || '-' || entity AS entity_id,
    spelling
FROM addressed
"""
