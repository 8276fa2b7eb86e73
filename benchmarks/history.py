"""Raw records in bulk, made by SQL in the warehouse itself: a history, and batches on top of it.

For measuring what comes after loading. The demo's landing files, which are more like life, are made
by `msgmetrics.demo`.
"""

from datetime import datetime, timedelta

import duckdb

from orchestration.batches import open_batch
from orchestration.warehouse import create_raw_tables, hashes_of_ids

MESSAGES_A_DAY = 333_333
END = datetime(2026, 5, 1)
_CHUNK = 2_000_000
_LATE_SHARE = 0.03

# Skewed dimensions that hang together: an account has its own few senders, campaigns and countries.
_MESSAGES = """
insert into raw.messages by name
with numbers as (
    select
        i,
        hash(i * 3 + 1) as h,
        floor(power((hash(i * 7 + 2) % 100000) / 100000.0, 3) * 200)::integer as account,
        (hash(i * 11 + 3) % 100)::integer as percent,
        (hash(i * 13 + 4) % 1000)::integer as thousandth
    from range({first}, {last}) as numbers (i)
)
select
    md5(i::varchar) as message_id,
    'account-' || account as account_key,
    case when percent < 5 then 'INBOUND' else 'OUTBOUND' end as direction,
    case
        when h % 10 < 5 then 'SMS' when h % 10 < 8 then 'EMAIL' when h % 10 < 9 then 'WHATSAPP'
        else 'VIBER'
    end as channel_code,
    timestamp '{start}' + to_microseconds(((i - {first_of_all}) * {micros})::bigint) as sent_at,
    'sender-' || account || '-' || h % 3 || '@shop' || account % 50 || '.example' as sender,
    '3859' || lpad((h % 10000000)::varchar, 7, '0')
        || '@mail' || (hash(i) % 20) || '.example' as recipient,
    case when h % 10 < 5 then 'ALPHANUMERIC' end as sender_type,
    case when thousandth < 100 then 'talk-' || i // 4 end as interaction_id,
    (1 + thousandth % 3)::smallint as segments,
    (thousandth / 1000.0)::decimal(18, 6) as cost_cents,
    (account * 3 + h % 4)::bigint as communication_id,
    'campaign-' || account || '-' || h % 5 as campaign_reference_id,
    ([191, 276, 840, 826, 356, 76, 380, 250])[1 + (account + h % 3)::integer % 8] as country_id,
    ([219010, 262002, 310260, 234010])[1 + (account + h % 2)::integer % 4] as network_id,
    'application-' || account % 10 as application_id,
    'entity-' || account % 12 as entity_id,
    {batch_id} as batch_id,
    1 as file_id,
    {hashes}
from numbers
"""

# Of 100 outbound messages about 90 are delivered, 8 fail, 40 are opened, 8 are clicked.
_EVENTS = """
insert into raw.events by name
with kinds as (
    select * from (values
        (0, 'SENT', 0, 40), (1, 'DELIVERED', 8, 98), (2, 'UNDELIVERABLE', 0, 8),
        (3, 'OPENED', 20, 50), (4, 'CLICKED', 20, 28), (5, 'OPENED', 20, 30)
    ) as kinds (kind, event_type, low, high)
),
happened as (
    select
        messages.message_id,
        messages.message_hash,
        messages.sent_at,
        kinds.*,
        hash(messages.message_hash, kinds.kind) as h
    from raw.messages as messages
    inner join kinds on messages.message_hash % 100 between kinds.low and kinds.high - 1
    where messages.batch_id = {batch_id} and messages.direction = 'OUTBOUND'
)
select
    md5(message_id || kind) as event_id,
    message_id,
    event_type,
    sent_at + to_seconds((kind * 7 + h % (1 + kind * 60))::bigint) as occurred_at,
    case when event_type = 'UNDELIVERABLE' then 'EC_ABSENT_SUBSCRIBER' end as error_code,
    case when event_type = 'CLICKED' then 'https://shop.example/' || h % 500 end as url,
    {batch_id} as batch_id,
    1 as file_id,
    {hashes}
from happened
"""

# Late events: clicks on messages from anywhere in the history.
_LATE = """
insert into raw.events by name
select
    md5('late' || {batch_id} || '-' || i) as event_id,
    late.message_id,
    'CLICKED' as event_type,
    timestamp '{end}' as occurred_at,
    'https://shop.example/' || i % 500 as url,
    {batch_id} as batch_id,
    1 as file_id,
    {hashes}
from (
    select
        i,
        hash(i, {batch_id}) % {history} as message,
        md5((message % {original})::varchar) as original_id,
        case
            when message < {original} then original_id
            else md5(original_id || message // {original})
        end as message_id
    from range({late}) as numbers (i)
) as late
"""

# A copy of a built history, so many days earlier, under ids of its own.
_COPIES = """
insert into raw.messages
select * replace (
    md5(message_id || {copy}) as message_id,
    sent_at - interval {days} day as sent_at,
    interaction_id || '-{copy}' as interaction_id,
    md5_number_lower(md5(message_id || {copy})) as message_hash,
    md5_number_lower('.' || md5(message_id || {copy})) as message_hash_rest
)
from raw.messages where {is_original};

insert into raw.events
select * replace (
    md5(event_id || {copy}) as event_id,
    md5(message_id || {copy}) as message_id,
    occurred_at - interval {days} day as occurred_at,
    md5_number_lower(md5(event_id || {copy})) as event_hash,
    md5_number_lower('.' || md5(event_id || {copy})) as event_hash_rest,
    md5_number_lower(md5(message_id || {copy})) as message_hash,
    md5_number_lower('.' || md5(message_id || {copy})) as message_hash_rest
)
from raw.events where {is_original};

insert into facts.fct_messages
select facts.* replace (
    md5(facts.message_id || {copy}) as message_id,
    facts.sent_at - interval {days} day as sent_at,
    delivered_at - interval {days} day as delivered_at,
    seen_at - interval {days} day as seen_at,
    clicked_at - interval {days} day as clicked_at,
    md5_number_lower(md5(facts.message_id || {copy})) as message_hash,
    md5_number(
        length(facts.account_key) || ':' || facts.account_key || talks.interaction_id || '-{copy}'
    ) as interaction_hash
)
from facts.fct_messages as facts
left join (
    -- a message has as many records as it has versions
    select distinct message_id, interaction_id from raw.messages
    where interaction_id is not null and {is_original}
) as talks on facts.message_id = talks.message_id
where facts.sent_at >= timestamp '{start}';

insert into facts.fct_url_clicks
select * replace (
    md5(message_id || {copy}) as message_id,
    sent_at - interval {days} day as sent_at,
    md5_number_lower(md5(message_id || {copy})) as message_hash
)
from facts.fct_url_clicks where sent_at >= timestamp '{start}';
"""


def write_history(connection: duckdb.DuckDBPyConnection, messages: int) -> None:
    """A history of that many messages with their events, which ends at END."""
    create_raw_tables(connection)
    start = END - timedelta(days=messages / MESSAGES_A_DAY)
    for first in range(0, messages, _CHUNK):
        last = min(first + _CHUNK, messages)
        batch_id = _open(connection)
        _insert(connection, batch_id, first, last, 0, start)
        connection.execute("checkpoint")


def lengthen_history(connection: duckdb.DuckDBPyConnection, messages: int, times: int) -> None:
    """Makes a built history so many times as long, by copies of its records, facts and marts.

    Quicker than to build it, and no different to a batch: every table has the rows it would have.
    """
    days = -(-messages // MESSAGES_A_DAY)
    start = END - timedelta(days=messages / MESSAGES_A_DAY)
    (last,) = connection.execute("select max(batch_id) from raw.batches").fetchone()
    parts = connection.execute(
        "select table_name from information_schema.tables where table_schema = 'parts'"
    ).fetchall()
    for copy in range(1, times):
        values = {
            "copy": copy,
            "days": days * copy,
            "start": start,
        }
        for statement in _COPIES.split(";\n\n"):
            time = "occurred_at" if "into raw.events" in statement else "sent_at"
            is_original = f"batch_id <= {last} and {time} >= timestamp '{start}'"
            connection.execute(statement.format(**values, is_original=is_original))
        for (name,) in parts:
            connection.execute(
                f"insert into parts.{name} select * replace (period_start - interval "
                f"{days * copy} day as period_start) from parts.{name} "
                f"where period_start >= timestamp '{start:%Y-%m-%d}'"
            )
        connection.execute("checkpoint")


def write_batch(
    connection: duckdb.DuckDBPyConnection,
    history: int,
    number: int,
    messages: int,
    original: int | None = None,
) -> None:
    """Batch `number` (from 0) after a history: new messages, and late events of any earlier one.

    The same batch for a history of any length but for which messages its late events are of.
    `original`: how many messages the history had before it was lengthened.
    """
    batch_id = _open(connection)
    first = 10**9 + number * messages
    start = END + timedelta(days=messages / MESSAGES_A_DAY) * number
    _insert(connection, batch_id, first, first + messages, first, start)
    (events,) = connection.execute(
        "select count(*) from raw.events where batch_id = ?", [batch_id]
    ).fetchone()
    connection.execute(
        _LATE.format(
            hashes=_hashes("events"),
            batch_id=batch_id,
            history=history,
            original=original or history,
            late=round(events * _LATE_SHARE),
            end=start,
        )
    )


def _open(connection: duckdb.DuckDBPyConnection) -> int:
    return open_batch(connection, cause="load", as_of=END, now=END)


def _insert(
    connection: duckdb.DuckDBPyConnection,
    batch_id: int,
    first: int,
    last: int,
    first_of_all: int,
    start: datetime,
) -> None:
    connection.execute(
        _MESSAGES.format(
            hashes=_hashes("messages"),
            batch_id=batch_id,
            first=first,
            last=last,
            first_of_all=first_of_all,
            start=start,
            micros=86_400_000_000 / MESSAGES_A_DAY,
        )
    )
    connection.execute(_EVENTS.format(hashes=_hashes("events"), batch_id=batch_id))


def _hashes(stream: str) -> str:
    return ", ".join(f"{sql} as {name}" for name, sql in hashes_of_ids(stream).items())
