"""Raw records, few enough to count on fingers, of which no data test has anything to say."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
from compiled import build_models, create_seeds

from orchestration.warehouse import HASHED_IDS, create_raw_tables, hash_ids

_RECORDS = """
insert into raw.accounts by name
select *, 1 as file_id, 1 as batch_id
from (values
    ('root', null, 'scale'),
    ('shop', 'root', 'growth'),
    ('bank', 'unheard_of', null)
) as accounts (account_key, parent_account_key, plan);

insert into raw.messages by name
select
    *, 'shop' as account_key, 'OUTBOUND' as direction, 'a@shop.example' as sender,
    'b@user.example' as recipient, 'i1' as interaction_id, 191 as country_id,
    219010 as network_id, 0.5 as cost_cents, 1 as file_id, 1 as batch_id
from (values
    ('sms', 'SMS', timestamp '2026-05-05 10:15:00'),
    ('sms', 'SMS', timestamp '2026-05-05 10:15:00'),
    ('late sms', 'SMS', timestamp '2026-05-05 23:59:00'),
    ('moved sms', 'SMS', timestamp '2026-05-06 00:00:00'),
    ('email', 'EMAIL', timestamp '2026-05-05 10:45:00'),
    ('dropped email', 'EMAIL', timestamp '2026-05-05 10:46:00')
) as messages (message_id, channel_code, sent_at);

insert into raw.messages by name
select * replace ('bank' as account_key, sent_at + interval 1 hour as updated_at)
from raw.messages
where message_id = 'moved sms';

insert into raw.messages by name
select
    'question' as message_id, 'shop' as account_key, 'INBOUND' as direction,
    'WHATSAPP' as channel_code, timestamp '2026-05-05 10:00:00' as sent_at,
    '385911111111' as sender, 'Shop' as recipient, 'SERVICE_CONVERSATION' as traffic_type,
    'i1' as interaction_id, 1 as file_id, 1 as batch_id;

insert into raw.events by name
select *, 1 as file_id, 1 as batch_id
from (values
    ('e1', 'sms', 'DELIVERED', timestamp '2026-05-05 10:15:02', null, null),
    ('e2', 'email', 'DELIVERED', timestamp '2026-05-05 10:45:09', null, null),
    ('e3', 'email', 'OPENED', timestamp '2026-05-05 11:00:00', null, null),
    ('e4', 'email', 'CLICKED', timestamp '2026-05-05 11:00:10', 'x', null),
    ('e5', 'email', 'CLICKED', timestamp '2026-05-05 11:00:20', 'x', null),
    ('e6', 'email', 'CLICKED', timestamp '2026-05-05 11:00:30', 'y', null),
    ('e7', 'dropped email', 'DROPPED', timestamp '2026-05-05 10:46:01', null, 'BOUNCED'),
    ('e8', 'not here yet', 'SENT', timestamp '2026-05-05 10:00:00', null, null)
) as events (event_id, message_id, event_type, occurred_at, url, drop_reason);
"""


def create_raw_records(connection: duckdb.DuckDBPyConnection) -> None:
    """The raw tables with the records in them."""
    create_raw_tables(connection)
    connection.execute(_RECORDS)
    for stream in HASHED_IDS:
        hash_ids(connection, stream)


@contextmanager
def built_warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse in memory, built from the records."""
    with duckdb.connect() as connection:
        connection.execute("set threads = 2")
        create_seeds(connection)
        create_raw_records(connection)
        build_models(connection)
        yield connection
