"""chdb: ClickHouse in this process; the outcome is a MergeTree table, the marts are made of it."""

import shutil
from pathlib import Path

from chdb import session

from benchmarks.comparisons.rules import (
    CURRENCY,
    DURATIONS,
    EVENT_ORDER,
    MESSAGE_ORDER,
    bucket_sql,
    seed_path,
    shared_marts,
)

_SETTINGS = (
    "set join_use_nulls = 1",
    # A comparison of two such columns is one, too, and is kept for a while.
    "set allow_suspicious_low_cardinality_types = 1",
)
_MESSAGE_COLUMNS = (
    "message_id String, account_key LowCardinality(String), direction LowCardinality(String), "
    "channel_code LowCardinality(String), sent_at DateTime64(6, 'UTC'), "
    "updated_at Nullable(DateTime64(6, 'UTC')), sender Nullable(String), "
    "sender_type LowCardinality(Nullable(String)), recipient Nullable(String), "
    "traffic_type LowCardinality(Nullable(String)), interaction_id Nullable(String), "
    "segments Nullable(Int16), cost_cents Nullable(Decimal(18, 6)), "
    "currency LowCardinality(Nullable(String)), communication_id Nullable(Int64), "
    "campaign_reference_id LowCardinality(Nullable(String)), country_id Nullable(Int32), "
    "network_id Nullable(Int32), application_id LowCardinality(Nullable(String)), "
    "entity_id LowCardinality(Nullable(String))"
)
_EVENT_COLUMNS = (
    "event_id String, message_id String, event_type LowCardinality(String), "
    "occurred_at DateTime64(6, 'UTC'), status LowCardinality(Nullable(String)), "
    "error_code LowCardinality(Nullable(String)), bounce_type LowCardinality(Nullable(String)), "
    "drop_reason LowCardinality(Nullable(String)), url Nullable(String), "
    "is_unsubscribe_link Nullable(Bool)"
)
_STAGED = """
create table messages engine = MergeTree order by message_id as
select * except (updated_at, sender_type, segments, cost_cents, currency),
    coalesce(updated_at, sent_at) as updated_at,
    multiIf(
        channel_code in ('SMS', 'MMS'), sender_type,
        channel_code = 'EMAIL', coalesce(sender_type, 'DOMAIN'),
        channel_code
    ) as sender_type,
    coalesce(segments, 1) as segments,
    coalesce(cost_cents, toDecimal64(0, 6)) as cost_cents,
    coalesce(currency, '{currency}') as currency
from {messages}
order by {message_order}
limit 1 by message_id;

create table event_types engine = Memory as
select * from file('{event_types}', CSVWithNames,
    'event_type String, bears_status Bool, is_final Bool, status_group String,
     default_status Nullable(String), precedence Nullable(Int8)');

create table error_codes engine = Memory as
select error_code, nullIf(error_group, '') as error_group
from file('{error_codes}', CSVWithNames,
    'error_code String, number Nullable(Int32), error_group Nullable(String),
     source_family Nullable(String), source_group Nullable(String), permanent Nullable(Bool)');

create table drop_reasons engine = Memory as
select * from file('{drop_reasons}', CSVWithNames, 'drop_reason String, is_suppression Bool');

create table events engine = MergeTree order by message_id as
select
    e.event_id as event_id, e.message_id as message_id, e.event_type as event_type,
    e.occurred_at as occurred_at,
    if(t.bears_status, coalesce(e.status, t.default_status), null) as status,
    if(t.bears_status, coalesce(e.error_code, 'NO_ERROR'), null) as error_code,
    if(e.event_type = 'BOUNCED', e.bounce_type, null) as bounce_type,
    if(e.event_type = 'DROPPED', coalesce(e.drop_reason, 'OTHER'), null) as drop_reason,
    if(e.event_type = 'CLICKED', e.url, null) as url,
    if(e.event_type = 'CLICKED', coalesce(e.is_unsubscribe_link, false), null)
        as is_unsubscribe_link,
    t.bears_status as bears_status, t.is_final as is_final, t.precedence as precedence,
    t.status_group as status_group
from {events} as e
inner join event_types as t on e.event_type = t.event_type
order by {event_order}
limit 1 by event_id
"""
_PER_MESSAGE = """
create table statuses engine = MergeTree order by message_id as
select
    message_id, 1 as has_status, d.1 as event_type, d.2 as status, d.3 as status_group,
    d.4 as error_code, g.error_group as error_group, d.5 as bounce_type,
    coalesce(r.is_suppression, false) as is_suppression
from (
    select message_id, argMax(
        tuple(event_type, status, status_group, error_code, bounce_type, drop_reason),
        tuple(is_final, occurred_at, precedence, event_id)
    ) as d
    from events where bears_status group by message_id
) as deciding
left join error_codes as g on d.4 = g.error_code
left join drop_reasons as r on d.6 = r.drop_reason;

create table engagement engine = MergeTree order by message_id as
select
    message_id,
    minOrNullIf(occurred_at, event_type = 'DELIVERED') as first_delivered_at,
    minOrNullIf(occurred_at, event_type in ('SEEN', 'OPENED')) as seen_at,
    minOrNullIf(occurred_at, is_click) as clicked_at,
    countIf(event_type in ('SEEN', 'OPENED')) as opens,
    countIf(is_click) as clicks,
    uniqExactIf(url, is_click) as distinct_urls,
    countIf(event_type = 'UNSUBSCRIBED') > 0 as unsubscribed,
    countIf(event_type = 'COMPLAINED') > 0 as complained
from (
    select *, event_type = 'CLICKED' and not coalesce(is_unsubscribe_link, false) as is_click
    from events
    where event_type in
        ('DELIVERED', 'SEEN', 'OPENED', 'CLICKED', 'UNSUBSCRIBED', 'COMPLAINED')
)
group by message_id;

create table openers engine = MergeTree order by message_id as
select opener as message_id, 1 as is_opener
from (
    select argMin(message_id, tuple(sent_at, message_id)) as opener
    from messages where interaction_id is not null
    group by account_key, interaction_id
)
"""
_OUTCOMES = """
create table outcomes engine = MergeTree order by toStartOfHour(sent_at) as
with
    direction = 'OUTBOUND' as is_out,
    channel_code = 'EMAIL' as is_email,
    interaction_id is null or coalesce(is_opener, 0) = 1 as opens_interaction
select
    message_id, account_key, channel_code, direction, traffic_type,
    our_address as sender, sender_type,
    if(is_email, {sender_domain}, null) as sender_domain,
    if(is_email, {recipient_domain}, null) as recipient_domain,
    communication_id as communication, campaign_reference_id as campaign_reference, network_id,
    country_id, application_id, entity_id, status_group, status, error_group, error_code,
    {buckets},
    sent_at, delivered_at, seen_at, clicked_at,
    {seconds},
    is_out as messages_out,
    not is_out as messages_in,
    if(is_out and not (is_email and is_rejected), segments, 0) as traffic_out,
    if(is_out, 0, segments) as traffic_in,
    is_out and opens_interaction as interactions_out,
    not is_out and opens_interaction as interactions_in,
    if(is_out and currency = '{currency}', cost_cents, toDecimal64(0, 6)) as cost_cents_out,
    if(not is_out and currency = '{currency}', cost_cents, toDecimal64(0, 6)) as cost_cents_in,
    is_out and is_email and not is_rejected as accepted,
    is_out and (not is_email or not (is_rejected or is_dropped)) as sent,
    sent and not is_rejected as sent_not_rejected,
    is_rejected as rejected,
    is_delivered as delivered,
    coalesce(time_to_deliver_seconds < 5, false) as delivered_in_5_sec,
    is_out and status_group in ('UNDELIVERABLE', 'EXPIRED', 'REJECTED') as failed,
    coalesce(bounce_type = 'SOFT', false) as soft_bounced,
    coalesce(bounce_type = 'HARD', false) as hard_bounced,
    is_dropped as dropped,
    is_dropped and coalesce(is_suppression, false) as suppressed,
    opens > 0 as opened_messages, opens, clicks > 0 as clicked_messages, clicks, distinct_urls,
    unsubscribed, complained
from (
    select
        m.* except (message_id), m.message_id as message_id,
        if(m.direction = 'OUTBOUND', m.sender, m.recipient) as our_address,
        if(m.direction = 'OUTBOUND', m.recipient, m.sender) as their_address,
        if(m.direction = 'OUTBOUND', coalesce(s.status, 'PENDING_ENROUTE'), 'DELIVERED_TO_HANDSET')
            as status,
        if(m.direction = 'OUTBOUND', coalesce(s.status_group, 'PENDING'), 'DELIVERED')
            as status_group,
        coalesce(s.error_code, 'NO_ERROR') as error_code,
        if(s.has_status = 1, s.error_group, 'OK') as error_group,
        s.bounce_type as bounce_type, s.is_suppression as is_suppression,
        m.direction = 'OUTBOUND' and status_group = 'DELIVERED' as is_delivered,
        m.direction = 'OUTBOUND' and status_group = 'REJECTED' as is_rejected,
        coalesce(s.event_type = 'DROPPED', false) as is_dropped,
        if(is_delivered, n.first_delivered_at, null) as delivered_at,
        n.seen_at as seen_at, n.clicked_at as clicked_at,
        coalesce(n.opens, 0) as opens, coalesce(n.clicks, 0) as clicks,
        coalesce(n.distinct_urls, 0) as distinct_urls,
        coalesce(n.unsubscribed, 0) as unsubscribed, coalesce(n.complained, 0) as complained,
        o.is_opener as is_opener
    from (select *, if(direction = 'OUTBOUND', message_id, null) as outbound_id from messages) as m
    left join statuses as s on m.outbound_id = s.message_id
    left join engagement as n on m.outbound_id = n.message_id
    left join openers as o on m.message_id = o.message_id
)
"""


def compute(landing: Path, results: Path) -> None:
    """Leaves the outcome and the shared marts as MergeTree tables."""
    shutil.rmtree(results / "clickhouse", ignore_errors=True)
    database = session.Session(str(results / "clickhouse"))
    try:
        for statement in _statements(landing):
            database.query(statement)
    finally:
        database.close()


def export(results: Path) -> None:
    """Every table as Parquet."""
    database = session.Session(str(results / "clickhouse"))
    try:
        for table in ("outcomes", *shared_marts()):
            path = results / f"{'messages' if table == 'outcomes' else table}.parquet"
            path.unlink(missing_ok=True)
            database.query(
                f"select * from work.{table} into outfile '{path}' format Parquet "
                "settings output_format_parquet_string_as_string = 1"
            )
    finally:
        database.close()


def _statements(landing: Path) -> list[str]:
    staged = _STAGED.format(
        currency=CURRENCY,
        messages=_files(landing, "messages", _MESSAGE_COLUMNS),
        events=_files(landing, "events", _EVENT_COLUMNS),
        message_order=_descending(MESSAGE_ORDER),
        event_order=_descending(EVENT_ORDER),
        **{name: seed_path(name) for name in ("event_types", "error_codes", "drop_reasons")},
    )
    outcomes = _OUTCOMES.format(
        currency=CURRENCY,
        sender_domain=_domain("our_address"),
        recipient_domain=_domain("their_address"),
        buckets=", ".join(f"{bucket_sql(f'{name}_seconds')} as {name}" for name in DURATIONS),
        seconds=", ".join(f"{_seconds(*e)} as {name}_seconds" for name, e in DURATIONS.items()),
    )
    scripts = f"{staged};{_PER_MESSAGE};{outcomes}"
    marts = [
        f"create table {name} engine = MergeTree order by period_start as "
        f"select toStartOfHour(sent_at) as period_start, {', '.join(mart.keys)}, "
        f"{', '.join(_sum(measure) for measure in mart.measures)} "
        f"from (select * from outcomes) as o group by period_start, {', '.join(mart.keys)}"
        for name, mart in shared_marts().items()
    ]
    return [
        *_SETTINGS,
        "create database work engine = Atomic",
        "use work",
        *(one.strip() for one in scripts.split(";") if one.strip()),
        *marts,
    ]


def _files(landing: Path, stream: str, columns: str) -> str:
    return f"file('{landing / stream}/**/*.parquet', Parquet, $${columns}$$)"


def _descending(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{column} desc nulls last" for column in columns)


def _seconds(earlier: str, later: str) -> str:
    """SQL of the whole seconds between two moments, at least 0; null where one is not known."""
    return (
        f"multiIf({earlier} is null or {later} is null, null, {later} < {earlier}, 0, "
        f"intDiv(toUnixTimestamp64Micro(assumeNotNull({later}))"
        f" - toUnixTimestamp64Micro(assumeNotNull({earlier})), 1000000))"
    )


def _domain(address: str) -> str:
    """SQL of the domain of an email address, bare or in angle brackets behind a name."""
    bare = (
        f"if(match({address}, '<[^>]*>'), "
        f"extract(assumeNotNull({address}), '(?s)^.*<([^>]*)>'), {address})"
    )
    return f"nullIf(lowerUTF8(extract(assumeNotNull({bare}), '@([^@]*)$')), '')"


def _sum(measure: str) -> str:
    wide = f"toDecimal128({measure}, 6)" if "cost" in measure else f"toInt64({measure})"
    return f"sum({wide}) as {measure}"
