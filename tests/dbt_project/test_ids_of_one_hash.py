"""Ids are joined by their hashes; made ones that share an MD5 are still two."""

from hashlib import md5

import duckdb
from compiled import build_models, create_seeds

from orchestration.warehouse import HASHED_IDS, create_raw_tables, hash_ids

_PAIR = [
    f"TEXTCOLLBYfGiJUETHQ4h{letter}cKSMd5zYpgqf1YRDhkmxHkhPWptrkoyz28wnI9V0aHeAuaKnak"
    for letter in "AE"
]
_RECORDS = """
insert into raw.messages by name
select
    id as message_id, 'shop' as account_key, 'OUTBOUND' as direction, 'SMS' as channel_code,
    timestamp '2026-05-05 10:00:00' as sent_at, 'Shop' as sender, '385911111111' as recipient,
    'talk' as interaction_id, 1 as file_id, 1 as batch_id
from (values ($first), ($second)) as ids (id);

insert into raw.events by name
select
    event_id, message_id, event_type, timestamp '2026-05-05 10:00:01' as occurred_at,
    1 as file_id, 1 as batch_id
from (values
    ($second, $first, 'DELIVERED'), ($first, $second, 'EXPIRED')
) as events (event_id, message_id, event_type);
"""


def test_two_ids_of_one_md5_are_two_messages_and_two_events():
    first, second = _PAIR
    assert first != second and md5(first.encode()).digest() == md5(second.encode()).digest()
    with duckdb.connect() as connection:
        create_seeds(connection)
        create_raw_tables(connection)
        for statement in _RECORDS.split(";\n\n"):
            connection.execute(statement, {"first": first, "second": second})
        for stream in HASHED_IDS:
            hash_ids(connection, stream)
        build_models(connection)
        outcomes = connection.execute(
            "select message_id, status_group, interactions_out from facts.fct_messages order by all"
        ).fetchall()
    assert outcomes == [(first, "DELIVERED", 1), (second, "EXPIRED", 0)]
